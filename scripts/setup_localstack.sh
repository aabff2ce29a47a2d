#!/usr/bin/env bash
# Installs a real LocalStack in its own environment outside of the tree. LocalStack pins few of its packages, so their
# versions are those of its release date. Idempotent; prints the path of its Python.
#   RAYFORM_CACHE   where to, instead of ~/.cache/rayform
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.9.2
released=2025-10-12
home="${RAYFORM_CACHE:-$HOME/.cache/rayform}/localstack-$version"

if [ -x "$home/bin/python" ] && [ -f "$home/.complete" ]; then echo "$home/bin/python"; exit 0; fi

uv=$(command -v uv || echo .bootstrap/bin/uv)
if [ ! -x "$uv" ]; then
  [ -x .bootstrap/bin/python ] || python3 -m venv .bootstrap
  .bootstrap/bin/pip install --quiet "uv>=0.5" >&2
  uv=.bootstrap/bin/uv
fi
python=$(.venv/bin/python -c 'import sys; print(sys._base_executable)' 2>/dev/null || command -v python3)

mkdir -p "$(dirname "$home")"
exec 9>"$home.lock"
flock 9
if [ ! -f "$home/.complete" ]; then
  rm -rf "$home"
  "$uv" venv --quiet --python "$python" "$home" >&2
  "$uv" pip install --quiet --python "$home/bin/python" --exclude-newer "$released" "localstack-core[runtime]==$version" >&2
  touch "$home/.complete"
fi
echo "$home/bin/python"
