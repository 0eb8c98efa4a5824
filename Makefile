# The whole project in one file of commands: `make help` lists them.
#
#   VENV=path     environment to install into and run from (default .venv, created when missing)
#   PYTHON=path   interpreter that .venv is made of (default: one of 3.11 to 3.14 that is found)

VENV ?= .venv
PYTHON ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.cascade-clip-installed

.DEFAULT_GOAL := help
.PHONY: help install demo test proof lint format types docs clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

install: $(STAMP)  ## create the environment and install the package (every command does it first)

$(STAMP): pyproject.toml constraints.txt scripts/install.sh
	PYTHON="$(PYTHON)" bash scripts/install.sh "$(VENV)"
	@touch $@

demo: $(STAMP)  ## train, evaluate and segment in the drawn world; writes runs/demo/report.html
	$(BIN)/cascade-clip demo

test: $(STAMP)  ## all tests except the long proofs
	$(BIN)/python -m pytest -q

proof: $(STAMP)  ## the long proofs
	$(BIN)/python -m pytest -q -m proof

lint: $(STAMP)  ## style (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)  ## types (mypy)
	$(BIN)/mypy

docs: $(STAMP)  ## the documentation as a site, in site/
	bash scripts/install.sh "$(VENV)" docs
	$(BIN)/mkdocs build --strict

clean:  ## remove caches and build outputs; .venv and runs/ stay
	rm -rf build dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
