# foveal: `make demo` shows it, `make test` checks it. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two workers of one thread each finish sooner than one worker of two: most tests are short.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

.PHONY: help install demo test check format lint types imports stubs unit test-all bench proto clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --progress-bar off -c constraints.txt -e ".[dev]"
	touch $(READY)

install: $(READY)  ## Environment with every extra, in .venv

demo: $(READY)  ## The whole path on generated data: train, export, verify, serve, grade, search
	$(BIN)/foveal demo

test: $(READY)  ## Environment if need be, then every check
	$(MAKE) --no-print-directory check

check: format lint types imports stubs unit  ## Format, lint, types, import rules, stub freshness, tests

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

stubs: $(READY)  ## The contract's format, lint, compatibility and the freshness of its stubs
	$(BIN)/python scripts/proto.py --check

unit: $(READY)
	$(PYTEST) -m "not slow"

test-all: $(READY)  ## Tests with the slow sweeps
	$(PYTEST)

bench: $(READY)  ## The slow sweeps; docs/results.md names the script behind every figure
	$(BIN)/python -m pytest -m slow

proto: $(READY)  ## Format the contract and generate its stubs
	$(BIN)/python scripts/proto.py

clean:  ## Remove the environment and caches, never runs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
