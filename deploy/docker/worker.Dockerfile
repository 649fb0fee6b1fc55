# The worker, on CUDA: torch's wheel brings the CUDA libraries, the host only its driver and the container toolkit.
#   docker build -f deploy/docker/worker.Dockerfile .
# TORCH=cpu makes the small image for machines without a GPU.
FROM python:3.11.14-slim-bookworm AS build
ARG TORCH=cuda
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /app
RUN if [ "$TORCH" = cpu ]; then \
        /app/bin/pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu; \
    else \
        /app/bin/pip install --no-cache-dir torch==2.13.0; \
    fi
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY shared shared
COPY worker worker
COPY api api
RUN /app/bin/pip install --no-cache-dir -c constraints.txt ".[worker]"

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="kolors-queue worker" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home kolors && mkdir -p /data/models && chown -R kolors /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 DATA_DIR=/data MODEL_CACHE=/data/models HF_HOME=/data/models/hub \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
WORKDIR /data
VOLUME /data
# It has no port: it is healthy while the process that wrote its pid lives.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s \
    CMD ["python", "-c", "import os; os.kill(int(open(os.environ['DATA_DIR'] + '/run/worker.pid').read()), 0)"]
CMD ["python", "-m", "worker.app"]
