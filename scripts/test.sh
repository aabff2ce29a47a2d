#!/usr/bin/env bash
# The whole suite. Fast tests run on two workers. Those that boot clouds, clusters or containers then run in two
# streams side by side: Terraform's, which mostly wait for the provider, and the rest, each one test after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
scripts/lint.sh
alone="docker or localstack or e2e or ray or terraform"
python -m pytest -q -n 2 -m "not ($alone)" tests

said=$(mktemp)
# A folder of its own for one of the two: pytest removes older sessions' folders as it ends, and two that end at once fail.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/rf-XXXX")
with_terraform=""
clean_up() {
  # By hand: a shell's background processes don't get Ctrl-C.
  if [ -n "$with_terraform" ]; then kill -INT "$with_terraform" 2>/dev/null || true; fi
  rm -rf "$said" "$scratch"
}
trap clean_up EXIT
passed() { [ "$1" -eq 0 ] || [ "$1" -eq 5 ]; } # pytest's 5: no test was selected
PYTEST_DEBUG_TEMPROOT=$scratch python -m pytest -q -p no:cacheprovider -m terraform tests >"$said" 2>&1 &
with_terraform=$!
code=0
python -m pytest -q -m "($alone) and not terraform" tests || code=$?
terraform_code=0
wait "$with_terraform" || terraform_code=$?
with_terraform=""
printf '\n== The tests with Terraform\n'
cat "$said"
passed "$code" || exit "$code"
passed "$terraform_code" || exit "$terraform_code"
