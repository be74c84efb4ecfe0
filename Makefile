# The verbs of the house. Everything they need is in .venv, which they make themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.installed
FULL := $(VENV)/.installed-train
TORCH = $(shell sed -n 's/^torch==\([0-9.]*\).*/\1/p' requirements-train.lock)

.DEFAULT_GOAL := help
.PHONY: help setup demo test clients lint types bench slow faults soak docs site lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "kflow needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PIP) --require-hashes --only-binary=:all: -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $(READY)

# The lock holds PyTorch without CUDA. Asked first whether pip finds that build, since it would else fetch the one with
# CUDA, and refuse it only then. A PyTorch of that version that is already there is taken as it is.
$(FULL): $(READY) requirements-train.lock
	@{ $(BIN)/python -c 'from importlib.metadata import version; assert version("torch").split("+")[0] == "$(TORCH)"' \
	    2>/dev/null || test "$$(uname)" = Darwin || \
	  $(PIP) --dry-run --no-deps --only-binary=:all: torch==$(TORCH)+cpu; } && \
	$(PIP) --require-hashes --only-binary=:all: -r requirements-train.lock || { \
	  echo "Training's packages are not installed. If pip finds no build of PyTorch $(TORCH) without CUDA for this machine,"; \
	  echo "install one yourself, then repeat: $(BIN)/pip install torch==$(TORCH) (docs/decisions/0002-dependencies.md)"; exit 1; }
	@touch $(FULL)

setup: $(FULL) ## install everything, training and sweeps too

demo: $(READY) ## everything once, kept in kflow-demo: no keys, no network; after make setup it trains too
	$(BIN)/kflow demo

test: $(FULL) ## lint, types and all tests but the slow ones
	@$(BIN)/python -m kflow.testing.warm & compiled=$$!; \
	  $(MAKE) --no-print-directory lint types clients || { wait $$compiled; exit 1; }; wait $$compiled
	$(BIN)/python -m pytest -n 2 -q -m "not slow and not faults"

slow: $(FULL) clients ## the tests that `make test` leaves out for time, but for long faults
	$(BIN)/python -m pytest -n 2 -q -m "slow and not faults"

clients: $(READY) ## independent Kalshi clients for the conformance tests, and Sphinx, each in an environment of its own
	@$(BIN)/python tests/conformance/install.py
	@$(BIN)/python docs/site/build.py --install

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(FULL) ## mypy --strict
	$(BIN)/mypy

bench: $(FULL) ## every benchmark in its quick form; each ends in a line of JSON
	@set -e; for script in $$(grep -lE "report\(" bench/*.py | grep -v measure.py); do echo "== $$script"; $(BIN)/python $$script --quick; done

faults: $(READY) ## the fault tests, long forms too: kills, cuts, full disks; figures to bench/reliability.json
	$(BIN)/python -m pytest -q tests/faults --figures bench/reliability.json

soak: $(READY) ## one hour at 1,000 messages a second
	$(BIN)/python bench/soak.py

docs: $(READY) ## write the pages of docs/ that are made from the code
	$(BIN)/python -m kflow.cli.reference docs
	$(BIN)/python docs/site/figures.py docs/promises.md

site: docs ## the documentation as a site, in build/site: no network needed to make or to read it once Sphinx is there
	@$(BIN)/python docs/site/build.py build/site

lock: ## renew requirements.lock and requirements-train.lock from pyproject.toml
	PYTHON=$(PYTHON) .ci/lock

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) .venvs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
