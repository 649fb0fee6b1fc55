#!/bin/sh
# Whether a pinned dependency has a known vulnerability, by the advisories that the package index publishes.
# An index without advisories finds nothing wrong with anything. So a release that is known to be bad is asked about
# first: where that is not found, nothing can be said, and this says so and ends well.
set -eu
cd "$(dirname "$0")/.."
audit=.venv-audit/bin/pip-audit
[ -x "$audit" ] || { python3 -m venv .venv-audit && .venv-audit/bin/pip install --quiet pip-audit==2.10.1; } || {
    echo "audit: pip-audit cannot be installed here. NOTHING WAS AUDITED."; exit 0; }
known_bad=$(mktemp)
trap 'rm -f "$known_bad"' EXIT
echo "jinja2==2.4.1" > "$known_bad"
if "$audit" --requirement "$known_bad" --no-deps --disable-pip --progress-spinner off 2>&1 | grep -qi "^jinja2 .*PYSEC-"; then
    exec "$audit" --strict --requirement constraints.txt --no-deps --disable-pip --progress-spinner off
fi
echo "audit: the package index publishes no advisories, or cannot be reached. NOTHING WAS AUDITED."
