# make app  - from a bare clone to the running app, on an embedded procedural slide of 10 gigapixels
# make test - everything the tests need, then the tests
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?= scene:tissue?size=100000x100000&seed=7
PORT ?= 8501
TESTS ?=
# processes that share the tests
JOBS ?= 2
# the first interpreter that is new enough
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: app test fuzz lint format system clean screenshots

app: $(VENV)/app.done
	@$(BIN)/hrviz app "$(IMAGE)" --port $(PORT)

test: system $(VENV)/dev.done
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadscope $(TESTS)

# 500 damaged files of every format: about five minutes
fuzz: system $(VENV)/dev.done
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m fuzz tests/image --timeout 0

lint: $(VENV)/dev.done
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/dev.done
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

system:
	@bash tests/system_packages.sh

screenshots: $(VENV)/dev.done
	@$(BIN)/python docs/screenshots.py

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "hrviz needs Python 3.11 or newer: install it, or call make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/app.done: $(BIN)/python requirements.lock pyproject.toml
	@echo "Installing the app from requirements.lock (a few minutes the first time) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c requirements.lock -e ".[app]"
	@touch $@

$(VENV)/dev.done: $(BIN)/python requirements.lock pyproject.toml
	@echo "Installing everything from requirements.lock (a few minutes the first time) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@ $(VENV)/app.done

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache tests/output
