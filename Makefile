# The verbs of the house. Everything they need is in .venv, which they make themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test clients lint types bench faults soak docs lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "kflow needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY) ## record a synthetic market, prove the copy equal, simulate on it: no keys, no network
	$(BIN)/python examples/record_and_replay.py

test: $(READY) lint types clients ## lint, types and all tests but the slow ones
	$(BIN)/python -m pytest -n 2 -q -m "not slow and not faults"

clients: $(READY) ## independent Kalshi clients for the conformance tests, each in an environment of its own
	@$(BIN)/python tests/conformance/install.py

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy --strict
	$(BIN)/mypy

bench: $(READY) ## every benchmark in its quick form; each ends in a line of JSON
	@set -e; for script in $$(grep -lE "report\(" bench/*.py | grep -v measure.py); do echo "== $$script"; $(BIN)/python $$script --quick; done

faults: $(READY) ## the fault tests, long forms too: kills, cuts, full disks; figures to bench/reliability.json
	$(BIN)/python -m pytest -q tests/faults --figures bench/reliability.json

soak: $(READY) ## one hour at 1,000 messages a second
	$(BIN)/python bench/soak.py

docs: $(READY) ## write docs/cli.md, docs/settings.md and docs/exit-codes.md from the code
	$(BIN)/python -m kflow.cli.reference docs

lock: $(READY) ## renew requirements.lock from pyproject.toml
	test -x .venvs/lock/bin/pip-compile || { $(PYTHON) -m venv .venvs/lock && .venvs/lock/bin/pip install --quiet pip-tools; }
	.venvs/lock/bin/pip-compile --quiet --upgrade --generate-hashes --extra export --extra plot --extra dev --strip-extras --allow-unsafe \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-options -o requirements.new pyproject.toml
	{ echo "# Every package kflow, its exports and its tests are installed with, each pinned and hashed. Made by: make lock"; \
	  cat requirements.new; } > requirements.lock
	rm requirements.new

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) .venvs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
