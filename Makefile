# Each target first builds the environment in .venv from the lock. It needs Python 3.11 and make.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: demo test unit lint bench bench-pit bench-serving soak up down lock

demo: .venv/ready
	$(BIN)/clipwise demo

# The tests of a file share their set-up, so one worker runs a whole file.
test: .venv/ready
	$(BIN)/pytest --numprocesses 2 --dist loadfile

unit: .venv/ready
	$(BIN)/pytest tests/unit --numprocesses 2 --dist loadfile

lint: .venv/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/ready
	$(BIN)/python -m tests.benchmarks backbone

bench-pit: .venv/ready
	$(BIN)/python -m tests.benchmarks point_in_time

bench-serving: .venv/ready
	$(BIN)/python -m tests.benchmarks serving

# The full size of two tests that CI runs in short form: 100,000 fuzzed requests, 20 rounds of each
# fault.
soak: .venv/ready
	CLIPWISE_FUZZED=100000 $(BIN)/pytest tests/e2e/test_access.py -k fuzzed -s
	CLIPWISE_FAULT_ROUNDS=20 $(BIN)/pytest tests/e2e/test_faults.py -s

up: .venv/ready
	infra/local up

down: .venv/ready
	infra/local down

# Regenerates the lock: every package with its hashes, and no index.
lock: .venv/ready
	$(PYTHON) -m venv .venv/uv && .venv/uv/bin/pip install --quiet uv
	.venv/uv/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements.lock

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
