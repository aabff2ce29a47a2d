#!/usr/bin/env bash
# The whole suite. Fast tests run on two workers. Then two streams run side by side, each one test after the other: those
# that boot machines, clusters or containers, which fill the processors and share one Docker Engine and its networks, and
# those with Terraform alone, which mostly wait for the provider.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
scripts/lint.sh
machines="docker or localstack or e2e or ray"
python -m pytest -q -n 2 -m "not ($machines or terraform)" tests

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
PYTEST_DEBUG_TEMPROOT=$scratch python -m pytest -q -p no:cacheprovider -m "terraform and not ($machines)" tests >"$said" 2>&1 &
with_terraform=$!
code=0
python -m pytest -q -m "$machines" tests || code=$?
terraform_code=0
wait "$with_terraform" || terraform_code=$?
with_terraform=""
printf '\n== The tests with Terraform\n'
cat "$said"
passed "$code" || exit "$code"
passed "$terraform_code" || exit "$terraform_code"
