# The API and the courier: no torch, no diffusers, no GPU. Build from the repository's root:
#   docker build -f deploy/docker/api.Dockerfile .
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /app
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY api api
COPY shared shared
COPY worker worker
RUN /app/bin/pip install --no-cache-dir -c constraints.txt ".[api]"

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="kolors-queue api" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home kolors && mkdir /data && chown kolors /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 DATA_DIR=/data HOST=0.0.0.0 PORT=8000
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/health\", timeout=3)"]
CMD ["python", "-m", "api"]
