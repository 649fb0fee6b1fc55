#!/bin/sh
# Finds a Python to make the virtual environment with, and hands over to deploy/setup.
# Owns that choice and its error message; what is installed is deploy/setup's business.
set -u

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
for python in .venv/bin/python ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3 python; do
    if "$python" -c "$new_enough" >/dev/null 2>&1; then
        exec "$python" -m deploy.setup "$@"
    fi
done

echo "No Python 3.11 or newer was found." >&2
echo "Install one (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.12)" >&2
echo "or name it: make setup PYTHON=/path/to/python3.12" >&2
exit 1
