#!/usr/bin/env bash
# Sets up what the project needs on this machine. Idempotent: a second run only checks.
#   setup.sh python   the Python environment in .venv
#   setup.sh system   Debian packages: Docker Engine, PostgreSQL, debootstrap, an OCI registry, OpenSSH
#   setup.sh demo|all both
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
unset PYTHONDONTWRITEBYTECODE

say() { printf '== %s\n' "$*"; }

python_bin() {
  for name in "${RAYFORM_PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 || continue
    "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { command -v "$name"; return; }
  done
  echo "Rayform needs Python 3.11, 3.12 or 3.13, and none is on PATH. Install one (Debian: apt-get install python3 python3-venv) or set RAYFORM_PYTHON." >&2
  exit 1
}

setup_python() {
  local python stamp uv
  stamp=$(cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum | cut -c1-16)
  if [ -x .venv/bin/python ] && [ "$(cat .venv/.rayform-setup 2>/dev/null)" = "$stamp" ]; then return; fi
  python=$(python_bin)
  if command -v uv >/dev/null 2>&1; then uv=uv; else
    say "Installing uv"
    [ -x .bootstrap/bin/python ] || "$python" -m venv .bootstrap
    .bootstrap/bin/pip install --quiet "uv>=0.5"
    uv=.bootstrap/bin/uv
  fi
  # pip's find-links (a folder of local wheels, such as a CPU build of PyTorch) holds for uv too.
  export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
  [ -n "$UV_FIND_LINKS" ] || unset UV_FIND_LINKS
  export UV_HTTP_TIMEOUT=180
  say "Making .venv with $($python --version)"
  [ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv
  # Compiled once here, since some environments forbid Python to write bytecode as it goes.
  "$uv" pip install --quiet --compile-bytecode --python .venv/bin/python -c constraints.txt \
    -e '.[aws,gcp,localstack,migrate,numpy,pandas,polars,pyarrow,sklearn,torch,pillow,matplotlib,server]' \
    --group test --group lint --group docs
  echo "$stamp" > .venv/.rayform-setup
}

setup_system() {
  [ -f scripts/setup_system.sh ] && bash scripts/setup_system.sh
  return 0
}

# Only tests need it: a real LocalStack in its own environment, outside of the tree.
setup_localstack() {
  say "Checking LocalStack's environment"
  scripts/setup_localstack.sh >/dev/null
}

case $what in
  python) setup_python ;;
  system) setup_system ;;
  demo) setup_python; setup_system ;;
  all) setup_python; setup_system; setup_localstack ;;
  *) echo "usage: setup.sh python|system|demo|all" >&2; exit 2 ;;
esac
