"""`python -m deploy.local.demo`: one picture through the whole system, and then everything is stopped again.

Starts the same system as `make serve`, on a free port and a data directory of its own, and calls it as any program
written for fal would: with the unmodified `fal_client`, which is only told another address.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.client import Client, DemoFailed
from deploy.local.models import Model, model_of
from deploy.local.pictures import Results, load
from deploy.local.programs import ROOT
from deploy.local.ready import ask
from deploy.local.redis import free_port
from deploy.local.stages import Stages
from deploy.setup.progress import Bar

START_S = 600
FIELDS = {
    "PROMPT": ("prompt", str),
    "NEGATIVE_PROMPT": ("negative_prompt", str),
    "STRENGTH": ("strength", float),
    "STEPS": ("num_inference_steps", int),
    "GUIDANCE": ("guidance_scale", float),
    "SEED": ("seed", int),
    "SCHEDULER": ("scheduler", str),
    "IMAGE_SIZE": ("image_size", str),
    "NUM_IMAGES": ("num_images", int),
    "OUTPUT_FORMAT": ("output_format", str),
}
"""What `make demo` takes, and the endpoint's own name and type of it."""


def main() -> int:
    stages = Stages(began_at=float(os.environ.get("SETUP_BEGAN") or 0) or time.time())
    try:
        results = load(os.environ.get("IMAGE"), Path(os.environ.get("OUT") or "out"))
        model = model_of(os.environ)
        arguments = read_arguments(os.environ, model, results.size)
        with system(stages) as url:
            paint(Client(url, os.environ), arguments, results, stages)
    except DemoFailed as failure:
        print(f"\nThe demo did not get through: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    print(stages.table())
    print(f"From     {results.input}")
    print(f"To       {', '.join(str(path) for path in results.pictures)}")
    print(f"Both     {results.comparison}")
    if model.remark:
        print(f"\n{model.remark}")
    return 0


def read_arguments(environment: Mapping[str, str], model: Model, size: tuple[int, int]) -> dict[str, object]:
    """The endpoint's arguments but for the picture, which is of `size` (width, height). Raises `DemoFailed` with the
    variable's name."""
    arguments = dict(model.defaults)
    if image_size := model.size_for(*size):
        arguments["image_size"] = image_size
    for name, (field, kind) in FIELDS.items():
        text = environment.get(name)
        if text:
            try:
                arguments[field] = kind(text)
            except ValueError:
                raise DemoFailed(f"{name}={text} is not a number") from None
    return arguments


def paint(client: Client, arguments: dict[str, object], results: Results, stages: Stages) -> None:
    """The demo itself: upload, submit, watch, fetch. Raises `DemoFailed`."""
    with stages.timed("send picture"):
        image_url = client.upload(results.input)
    with stages.timed("request"):
        bar = Bar("request")
        stages.enter("in the queue")
        request = client.submit({**arguments, "image_url": image_url})
        for state in client.watch(request):
            stages.enter(state.stage)
            bar.at(state.part, state.text)
        stages.leave()
        output = client.result(request)
        bar.done(f"seed {output.seed}")
    stages.report(output.timings)
    with stages.timed("fetch result"):
        results.save([client.fetch(link) for link in output.links])


@contextmanager
def system(stages: Stages) -> Generator[str]:
    """A running system's URL; it is stopped, with all its programs, when the block ends."""
    data_dir = Path(os.environ.get("DATA_DIR") or ROOT / ".data" / "demo").absolute()
    log = data_dir / "demo.log"
    data_dir.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {**os.environ, "DATA_DIR": str(data_dir), "PORT": str(port), "HOST": "127.0.0.1", "WORKERS": "1"}
    for name in ("TLS_CERT_FILE", "TLS_KEY_FILE", "PUBLIC_URL"):
        environment.pop(name, None)
    leashed = [sys.executable, "-I", "-S", str(ROOT / "deploy" / "local" / "leash.py")]
    command = [*leashed, sys.executable, "-m", "deploy.local.serve"]
    with log.open("wb") as output, stages.timed("start"):
        running = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _await(running, f"http://127.0.0.1:{port}", log)
        except BaseException:
            _stop(running)
            raise
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        with stages.timed("stop"):
            _stop(running)


def _await(running: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    bar = Bar("start the system")
    began = time.monotonic()
    while True:
        ready, answer = ask(url)
        if ready:
            bar.done(url)
            return
        elapsed = time.monotonic() - began
        if running.poll() is not None or elapsed > START_S:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise DemoFailed(f"the system did not start. The end of {log}:\n{tail}")
        bar.at(elapsed / (elapsed + 5), _first_line(answer))
        time.sleep(0.1)


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def _stop(running: "subprocess.Popen[bytes]") -> None:
    running.send_signal(signal.SIGTERM)
    running.wait(timeout=120)


if __name__ == "__main__":
    sys.exit(main())
