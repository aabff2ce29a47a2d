#!/usr/bin/env bash
# All checks that run no test. Stops at the first tool that finds a problem.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
ruff format --check .
ruff check .
lint-imports
mypy
pyright
