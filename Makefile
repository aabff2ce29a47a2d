# Two commands do everything: `make demo` sets up and runs the main job, `make test` sets up and runs the suite.
SHELL := /bin/bash
PY := .venv/bin/python
# Start-up times are part of the product: let Python keep the bytecode that it compiles.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup setup-python demo test test-bare check lint bench docs clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: ## Install everything that demo and tests need (idempotent)
	@scripts/setup.sh all

setup-python: ## Install only the Python environment
	@scripts/setup.sh python

demo: ## Set up, then run the main job; DASHBOARD=1 leaves a dashboard of it
	@scripts/setup.sh demo
	@scripts/demo.sh

test: ## Set up, then run the whole suite
	@scripts/setup.sh all
	@scripts/test.sh

test-bare: setup ## Follow the README in a bare Debian container: set up, then run the fast tests
	@scripts/bare_machine.sh

check: lint ## Lint and type-check, then run the fast tests
	@$(PY) -m pytest -q -m "not slow and not docker and not localstack and not e2e and not ray and not browser" -n 2 tests

lint: ## Format check, lint, import walls, types
	@scripts/lint.sh

bench: setup ## Measure the bars; JSON goes to benchmarks/out/
	@$(PY) -m benchmarks

docs: setup-python ## Build the documentation into site/
	@$(PY) -m mkdocs build --strict

clean: ## Remove what the set-up and builds made in this folder
	rm -rf .venv .bootstrap site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
