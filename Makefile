# Needs Python >= 3.11 and make, nothing else. Everything is installed into .venv, pinned.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt
EXPERIMENT ?= digits
# make laws WHICH='slow or thorough' takes every size and every arm too, and an hour.
WHICH ?= slow and not thorough
ONLY ?= test
# make chaos MINUTES=60 SEED=7 is a longer soak, and another one; PROCESSES=2 is of runs of two.
MINUTES ?= 10
SEED ?= 0
PROCESSES ?= 1

# What other implementations need, in an environment of its own. A PyTorch without CUDA is smaller:
# make parity TORCH='torch==2.13.0 --index-url ...'. torchvision's networks need no compiled operator.
OTHERS := .venv-parity/bin
TORCH ?= torch==2.13.0
TORCHVISION ?= torchvision==0.28.0

.PHONY: help demo test test-distributed test-slurm laws chaos parity bench lint clean

help:
	@echo 'make demo   install, run the digits study, say where the report is'
	@echo 'make test   install, check style and types, run the tests'
	@echo 'make test-distributed  runs of two and four processes: equal, killed, stopped, moved'
	@echo 'make test-slurm  try launch/slurm on a cluster of this machine (root, slurm-wlm, munge)'
	@echo 'make laws   run the laws over every kind of experiment, and the gradient of every network'
	@echo 'make chaos  kill, starve and damage runs for ten minutes; they must end bit for bit (Linux)'
	@echo 'make parity install PyTorch, Keras, transformers; compare every network, full size'
	@echo 'make bench  install PyTorch, transformers, gymnasium; time training, writing, play in turn with ours'
	@echo 'make clean  remove .venv, .venv-parity and caches; runs/ is left'

demo: .venv/installed
	$(BIN)/jaxdl run $(EXPERIMENT)

test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

# One after another: each starts as many processes as there are cores, and more.
test-distributed: .venv/installed-dev
	$(BIN)/python -m pytest -m distributed tests/distributed

# Says what is missing where this machine cannot be a cluster; installs nothing of the system's.
test-slurm: .venv/installed-dev
	$(BIN)/python -m launch.slurm.cluster_of_one -- sinfo
	$(BIN)/python -m pytest -m slurm tests/slurm

laws: .venv/installed-dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup -m '$(WHICH)' -k '$(ONLY)'

chaos: .venv/installed
	PYTHONPATH=tests $(BIN)/python -u -m chaos --minutes $(MINUTES) --seed $(SEED) --processes $(PROCESSES)

parity: .venv-parity/installed .venv/installed-dev
	$(OTHERS)/python tests/parity/record.py --check
	$(BIN)/python -m pytest -n auto --maxprocesses 2 tests/parity/full.py

bench: .venv/installed
	$(PIP) $(TORCH) transformers gymnasium
	$(BIN)/python -m experiments.throughput
	$(BIN)/python -m experiments.decoding
	$(BIN)/python -m experiments.dqn_speed

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

.venv-parity/installed: .venv/installed
	$(BIN)/python -m venv .venv-parity
	$(OTHERS)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(PIP:$(BIN)%=$(OTHERS)%) --editable '.[parity]'
	$(PIP:$(BIN)%=$(OTHERS)%) --no-deps $(TORCHVISION)
	@touch $@

clean:
	rm -rf .venv .venv-parity .mypy_cache .pytest_cache .ruff_cache build *.egg-info
