# Everything begins with `setup`, which makes .venv once and again only when a version changes.
VENV ?= .venv
PYTHON ?= python3
OUT ?= minescan-demo

BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
PACKAGES := scanner tiling models deploy

.PHONY: setup demo test test-all lint bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "minescan needs Python 3.11 or later: make setup PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	$(BIN)/minescan demo --out $(OUT)

test: setup
	$(BIN)/python -m pytest

test-all: setup
	$(BIN)/python -m pytest -m ''

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/bench.py --json benchmarks/results/bench.json
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-columns=min,median,rounds

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
	find $(PACKAGES) tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
