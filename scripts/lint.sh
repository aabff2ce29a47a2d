#!/usr/bin/env bash
# Everything that is checked without running a test. Stops at the first tool that finds something.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
ruff format --check .
ruff check .
lint-imports
mypy
pyright
