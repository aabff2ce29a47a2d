#!/usr/bin/env bash
# The whole suite. Fast tests run on two workers; those that boot clouds, clusters or containers run alone.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
scripts/lint.sh
alone="docker or localstack or e2e or ray or terraform"
python -m pytest -q -n 2 -m "not ($alone)" tests
python -m pytest -q -m "$alone" tests || { code=$?; [ $code -eq 5 ] || exit $code; }
