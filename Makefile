# foveal: `make demo` shows it, `make test` checks it. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The runtime serves; all the rest (PyTorch, the tests' tools) is 6.4 GB more and comes when it is needed.
RUNTIME := $(VENV)/.runtime
READY := $(VENV)/.ready
PIP := $(BIN)/python scripts/quiet_pip.py
# Of 16,000 modules a command imports 3,900 at most; Python compiles a module when it is first imported.
INSTALL := install --no-compile -c constraints.txt
# Where the environment forbids that, each of some thousand processes that the tests start would compile its modules again.
unexport PYTHONDONTWRITEBYTECODE
NEWER := $(VENV)-transformers
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)
# Two workers of one thread each finish sooner than one worker of two: most tests are short. A file stays with one worker, so that
# what its tests share (an environment, a server) is made once; long files come first (tests/conftest.py).
# Packages are installed uncompiled: where Python may not keep what it compiles, each process of a test compiles all it imports.
PYTEST_ENV := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
WORKERS ?= 2
PYTEST := $(PYTEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help install install-runtime demo test check format lint types imports stubs unit test-all test-transformers test-postgresql check-deploy check-security licences requirements gpu bench bench-check sweeps proto client reference docs wheel wheelhouse clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(RUNTIME): pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) "pip itself" --log $(VENV)/pip.log -- install --upgrade "pip>=24.1"
	@$(PIP) "the runtime" --log $(VENV)/runtime.log -- $(INSTALL) -e ".[cpu,store]"
	@touch $@

$(READY): $(RUNTIME)
	@$(PIP) "everything else" --log $(VENV)/install.log -- $(INSTALL) -e ".[dev]"
	@touch $@

install: $(READY)  ## Environment with every extra, in .venv

install-runtime: $(RUNTIME)  ## What serving needs alone, in .venv

demo: $(RUNTIME)  ## Serve the shipped model on real photographs, then train, export and serve one
	@$(BIN)/foveal demo --half serve --out $(DEMO)
	@$(MAKE) --no-print-directory install
	@$(BIN)/foveal demo --half make --resume $(DEMO)

test: $(READY)  ## Environment if need be, then every check
	$(MAKE) --no-print-directory check

check: format lint types imports stubs docs unit  ## Format, lint, types, import rules, what is generated is fresh, tests

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

stubs: $(READY)  ## The contract's format, lint and compatibility; stubs, blocking client, docs/reference, the table of executed providers and figures of result files fresh; lengths
	$(BIN)/python scripts/proto.py --check
	$(BIN)/python scripts/client.py --check
	$(BIN)/python scripts/reference.py --check
	$(BIN)/python scripts/sizes.py
	$(BIN)/python scripts/executed.py --check
	$(BIN)/python scripts/licences.py --check
	$(BIN)/python scripts/figures.py --check

unit: $(READY)
	$(PYTEST) -m "not slow"

test-all: $(READY)  ## Tests with the slow sweeps
	$(PYTEST)

# An environment that holds transformers alone and takes all the rest from .venv: 60 MB, not another 6 GB.
test-transformers: $(READY)  ## Training's and export's tests with transformers 5, the other end of what is allowed
	@$(BIN)/python -m venv $(NEWER)
	@$(BIN)/python scripts/over_venv.py $(VENV) $(NEWER)
	@$(NEWER)/bin/python scripts/quiet_pip.py "transformers 5" --log $(VENV)/transformers.log -- install --no-compile "transformers>=5,<6"
	$(PYTEST_ENV) $(NEWER)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" tests/train tests/export

test-postgresql: $(READY)  ## The store's tests on each PostgreSQL that can be had, 15 to 18; Debian's are fetched into build/, as root
	$(PYTEST_ENV) $(BIN)/python scripts/postgresql_versions.py

check-deploy: $(READY)  ## The samples in deploy/ by their own linters; those that are not installed are skipped by name
	$(BIN)/python scripts/check_deploy.py

check-security: $(READY)  ## Known holes in what a clinic installs, doubtful lines of our own, a bill of materials in dist/; skips by name offline
	$(BIN)/python scripts/check_security.py

licences: $(READY)  ## Write docs/licences.md from the packages' metadata
	$(BIN)/python scripts/licences.py

requirements:  ## Write requirements/clinic.txt, versions and hashes of foveal[cpu,store,dicom], with uv
	uv pip compile pyproject.toml --extra cpu --extra store --extra dicom -c constraints.txt --generate-hashes --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_28 --custom-compile-command "make requirements" -q -o requirements/clinic.txt

gpu: $(READY)  ## What this machine's GPU does with bundles and training: gpu-check/gpu-check.html and .json, to send back
	$(BIN)/foveal gpu-check gpu-check

sweeps: $(READY)  ## The slow tests alone
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m slow

bench: $(READY)  ## A benchmark by name, as make bench NAME="several_servers kills"; without one, a list of them
	@$(BIN)/python -m benchmarks $(if $(NAME),run $(NAME),list)

bench-check: $(READY)  ## Is serving slower than at another commit (AGAINST=HEAD~1), beyond the machine's noise? Five minutes
	$(BIN)/python benchmarks/bench_check.py --against $(or $(AGAINST),HEAD~1)

proto: $(READY)  ## Format the contract and generate its stubs
	$(BIN)/python scripts/proto.py

client: $(READY)  ## Make the blocking client from the asynchronous one
	$(BIN)/python scripts/client.py

reference: $(READY)  ## Write docs/reference from the code
	$(BIN)/python scripts/reference.py

docs: $(READY)  ## The documentation as a small site, in build/site; links are checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

wheel: $(RUNTIME)  ## The wheel, in dist/
	@$(PIP) "wheel" --log $(VENV)/wheel.log -- wheel --no-deps --wheel-dir dist .
	@ls dist/foveal-*.whl

wheelhouse: $(RUNTIME)  ## Every wheel of foveal[cpu,store,dicom] for this Python and machine, in wheelhouse/: installs offline
	@$(PIP) "wheelhouse" --log $(VENV)/wheelhouse.log -- wheel --wheel-dir wheelhouse --no-deps --require-hashes -r requirements/clinic.txt
	@$(PIP) "foveal's own wheel" --log $(VENV)/wheelhouse.log -- wheel --wheel-dir wheelhouse --no-deps .
	@cp requirements/clinic.txt wheelhouse/
	@echo "next, on the other machine: docs/install.md, Offline"

clean:  ## Remove the environment, wheels and caches, never runs
	rm -rf $(VENV) $(NEWER) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist wheelhouse
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
