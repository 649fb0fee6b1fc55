"""`python -m deploy.setup runtime|dev|test`: makes this machine ready, step by step; does nothing where all is done.

Runs with nothing but the standard library: first on the machine's Python, which makes `.venv`, then on that one.
"""

import os
import sys
from pathlib import Path

from deploy.setup.progress import SetupFailed
from deploy.setup.steps import ROOT, VENV, make_own_venv, plan

STAGES = ("runtime", "dev", "test")


def main(arguments: list[str]) -> int:
    stage = arguments[0] if arguments else "runtime"
    if stage not in STAGES:
        print(f"{stage!r} is none of {', '.join(STAGES)}", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    python = VENV / "bin" / "python"
    try:
        if Path(sys.prefix).resolve() != VENV.resolve():
            make_own_venv()
            os.execv(python, [str(python), "-m", "deploy.setup", stage])
        due = [step for step in plan(stage) if not step.is_done()]
        if due:
            print("Setting up. This is done once and takes a few minutes on a new machine.", flush=True)
        for step in due:
            step.carry_out()
    except SetupFailed as failure:
        if failure.output:
            print(f"\n{failure.output}", file=sys.stderr)
        print(f"\nSet-up stopped: {failure.what}.\n{failure.advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The steps that were done stay done.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
