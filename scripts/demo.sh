#!/usr/bin/env bash
# The main job on real input: the examples on the default stack, in a home of their own, what a second run takes
# from the cache, and what the catalog then knows.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
export RAYFORM_HOME="${RAYFORM_DEMO_HOME:-$PWD/.rayform/demo}"

say() { printf '\n== %s\n' "$*"; }

say "Handwritten digits: features, training, inference (examples/digits)"
python examples/digits/run.py
say "Training again: what hasn't changed comes from the cache"
rayform run examples/digits/run.py:training --explain-cache
say "A PyTorch network on the same digits (examples/digits/network.py)"
rayform run examples/digits/network.py
say "Versions of a data set (examples/dataset_versions)"
python examples/dataset_versions/run.py
say "What is in the catalog now (RAYFORM_HOME=$RAYFORM_HOME)"
rayform runs list
rayform model versions digits
rayform artifact list
say "What the newest classifier came from"
rayform artifact lineage classifier
