# Needs Python >= 3.11 and make, nothing else. Everything is installed into .venv, pinned.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt
EXPERIMENT ?= digits

.PHONY: help demo test lint clean

help:
	@echo 'make demo   install, run the digits study, say where the report is'
	@echo 'make test   install, check style and types, run the tests'
	@echo 'make clean  remove .venv and caches; runs/ is left'

demo: .venv/installed
	$(BIN)/jaxdl run $(EXPERIMENT)

test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "jaxdl needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) --version 2>&1); \
try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml .ci/constraints.txt
	$(PIP) --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info
