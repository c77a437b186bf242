# Everything a person types. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

# Tools called by rules are found through PATH, never through an activated shell.
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help env demo test faults lint format bench lock clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 10

env: $(VENV)/.ready ## the environment alone, in .venv

demo: $(VENV)/.ready ## every rule, table and figure on small stand-in data (two cores, under ten minutes)
	snakemake --configfile workflow/scales/demo.yaml --cores all

test: $(VENV)/.ready ## the whole test suite, on all cores
	pytest -n logical --dist loadgroup --no-loadscope-reorder

faults: $(VENV)/.ready ## inject faults into small runs and write their table, docs/faults.md
	pytest -n logical --dist loadgroup --no-loadscope-reorder --faults=docs/faults.md

lint: $(VENV)/.ready ## style, types and workflow checks; changes nothing
	ruff check src tests bench
	ruff format --check src tests bench
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

format: $(VENV)/.ready ## rewrite the sources in the project's style
	ruff check --fix src tests bench
	ruff format src tests bench
	snakefmt Snakefile workflow

bench: $(VENV)/.bench ## time and memory of our meta-iterations beside those of other libraries
	python -m bench

lock: $(VENV)/.ready ## renew requirements*.lock from the ranges in pyproject.toml
	{ echo '# Exact versions with hashes, for every supported Python and platform; made by `make lock`.'; \
	  uv pip compile pyproject.toml --extra test --extra slurm --universal --python-version 3.11 \
	    --generate-hashes --upgrade --no-header --quiet; } > requirements.lock.tmp
	mv requirements.lock.tmp requirements.lock
	{ echo '# The peers of `make bench` and what only they need, with hashes; made by `make lock`.'; \
	  printf 'graphviz\nhigher\noptree\ntorchopt\n' | uv pip compile - --no-deps --universal \
	    --python-version 3.11 --generate-hashes --upgrade --no-header --no-annotate --quiet; } \
	  > requirements-bench.lock.tmp
	mv requirements-bench.lock.tmp requirements-bench.lock

clean: ## remove the environment, checkpoints and caches; data and results stay
	rm -rf $(VENV) scratch scales/*/scratch .mypy_cache .pytest_cache .ruff_cache src/*.egg-info

# What jobs import is imported once. Where Python is told to write no bytecode (PYTHONDONTWRITEBYTECODE),
# each job would compile it anew: more than two seconds for torch, three for seaborn.
IMPORTED := import importlib, pkgutil, dvc.cli, jinja2, matplotlib.backends.backend_pdf, multistep, seaborn, snakemake.cli; \
  [importlib.import_module(module.name) for module in pkgutil.walk_packages(multistep.__path__, "multistep.")]

# The environment, made once from a bare Python; a changed lock or pyproject.toml renews it.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "error: Python 3.11 to 3.14 is needed; try: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import os, shutil, sys, sysconfig; sys.exit(sys.version_info >= (3, 14) and not (shutil.which("cc") \
	  and os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))))' || \
	  { echo "error: for Python 3.14 a C compiler (cc) and Python's headers are needed, since Snakemake's immutables has no wheel there; install them, or: make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV="$(abspath $(VENV))" $(BIN)/uv pip install --require-hashes -r requirements.lock
	VIRTUAL_ENV="$(abspath $(VENV))" $(BIN)/uv pip install --no-deps --editable .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c '$(IMPORTED)'
	touch $@

$(VENV)/.bench: $(VENV)/.ready requirements-bench.lock
	VIRTUAL_ENV="$(abspath $(VENV))" $(BIN)/uv pip install --no-deps --require-hashes -r requirements-bench.lock
	touch $@
