# Every way to start this product. `make` alone lists them.
# Settings are environment variables: `PORT=9000 make serve` and `make serve PORT=9000` are the same.

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test chaos soak lint audit format bench calibrate dev-tls clean
MAKEFLAGS += --no-print-directory
PYTHON := .venv/bin/python
SETUP := @sh deploy/setup/run.sh

help:  ## this list
	@echo "make …"
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1\t\2/p' Makefile | expand -t 12

setup:  ## a virtual environment with everything that running needs (done again only when something changed)
	$(SETUP) runtime

demo:  ## one picture through the whole system, then stop: make demo IMAGE=photo.jpg PROMPT="…" STRENGTH=0.6
	@began=$$(date +%s); sh deploy/setup/run.sh runtime && SETUP_BEGAN=$$began exec $(PYTHON) -m deploy.local.demo

# `exec`, or make would leave the system running when it is stopped; the leash ends it even if make is killed.
serve:  ## the system in the foreground on http://127.0.0.1:8000; PORT=, WORKERS=, DATA_DIR= and the README's settings
	$(SETUP) runtime
	@exec $(PYTHON) -I -S deploy/local/leash.py $(PYTHON) -m deploy.local.serve

test:  ## the whole test suite; make test ARGS="tests/unit -x" for a part of it
	$(SETUP) test
	@exec $(PYTHON) -m pytest -n 2 --dist loadfile $(ARGS)

# What is asked for comes by the environment: FAULT=, LONG=, LIST=, CHECK=.
chaos:  ## faults under load, and whether every promise was kept; FAULT=name for one, LIST=1 for all, LONG=1 for about an hour
	$(SETUP) test
	@exec $(PYTHON) -m tests.chaos

soak:  ## an hour of mixed load, and whether anything is lost or grows; MINUTES=, RATE= requests a second
	$(SETUP) test
	@exec $(PYTHON) -m tests.bench.soak

lint:  ## style, formatting, types, import contracts
	$(SETUP) dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m basedpyright
	.venv/bin/lint-imports --no-logo

audit:  ## known vulnerabilities of the pinned dependencies, where the package index publishes them
	@sh deploy/audit.sh

format:  ## puts the code into the house's format
	$(SETUP) dev
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

calibrate:  ## how many pictures of each size pay in one step on this device; kept in DATA_DIR for the workers
	$(SETUP) runtime
	@exec $(PYTHON) -m worker.calibrate

bench:  ## the measurements of docs/performance.md
	$(SETUP) test
	$(PYTHON) tests/bench/queueing.py
	$(PYTHON) tests/bench/fairness.py
	$(PYTHON) -m tests.bench.engine
	$(PYTHON) -m tests.bench.arrivals
	$(PYTHON) -m tests.bench.ways

dev-tls:  ## a local certificate authority and certificate, for clients that speak https only
	$(SETUP) runtime
	@exec $(PYTHON) -m deploy.local.dev_tls

clean:  ## removes what setup made; keeps .data (your requests and pictures) and out
	rm -rf .venv .venv-audit .pytest_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache tests/acceptance/js/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
