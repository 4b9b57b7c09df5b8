# The commands of this repository. Everything runs from .venv, which `make setup` builds from the locks.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test crash check format bench fuzz lock docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: .venv/.installed  ## make .venv from the hashed locks

.venv/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "hookledger needs Python 3.11 or newer; name one: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## sandbox, receiver and a few dozen tasks over a bad callback path
	@$(BIN)/hookledger demo

test: setup  ## the whole test suite; no network, no account
	$(BIN)/python -m pytest -n 3 --dist loadfile

crash: setup  ## kill the server and cut its power, 200 times each, and look for what was lost; takes minutes
	$(BIN)/python -m tests.crash

check: setup  ## format, lint, types, import contracts, docs = code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check

format: setup  ## rewrite the code in the house format
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

docs: setup  ## write the generated pages anew from the code
	$(BIN)/python -m docs.generate

bench: setup  ## measure everything, with the competitors in the same run (ARGS=--quick for a glance)
	$(BIN)/python -m benchmarks $(ARGS)

fuzz: setup  ## any bytes, guided by coverage, for ten minutes (FUZZ_SECONDS=60 for one); Linux
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	nice -n 19 $(BIN)/python -m tests.fuzz --seconds $(or $(FUZZ_SECONDS),600)

lock: setup  ## resolve the dependencies anew, with hashes and no addresses
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --output-file requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group dev --output-file requirements/dev.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group fuzz --output-file requirements/fuzz.txt

clean:  ## remove what the commands above made
	rm -rf .venv .demo .bench .fuzz dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
