# Each target makes .venv with the pinned environment first: a fresh machine needs Python 3.11 or newer, make and PyPI.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# One thread a test process, two processes, of which the idle one takes tests from the other; no test may reach the network.
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: help quickstart test test-all style bench
.DEFAULT_GOAL := help

help:  ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1@\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F@ '{printf "%-18s %s\n", $$1, $$2}'

quickstart: $(INSTALLED)  ## Train a language model and a classifier on real reviews, then load both (10 minutes)
	$(BIN)/rnn-hf quickstart

test: $(INSTALLED)  ## Run the tests
	$(PYTEST)

test-all: $(INSTALLED)  ## Run the tests, the slow ones too
	$(PYTEST) -m ""

bench: $(INSTALLED)  ## Compare the speed with its peers (10 minutes on a machine that does nothing else)
	for benchmark in layer lengths head step phases curves data; do $(BIN)/python benchmarks/$$benchmark.py || exit; done

style: $(INSTALLED)  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rnn-hf needs Python 3.11 or newer: make PYTHON=...")'
	@echo "Installing the pinned environment into .venv (a few minutes, once)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev,data,ptb]"
	@touch $@
