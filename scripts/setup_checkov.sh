#!/usr/bin/env bash
# Installs checkov in its own environment outside of the tree, because its many pins conflict with other packages.
# Idempotent; prints the path of its command.
#   RAYFORM_CACHE   where to, instead of ~/.cache/rayform
set -euo pipefail
cd "$(dirname "$0")/.."

version=3.3.30
home="${RAYFORM_CACHE:-$HOME/.cache/rayform}/checkov-$version"

if [ -x "$home/bin/checkov" ] && [ -f "$home/.complete" ]; then echo "$home/bin/checkov"; exit 0; fi

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
  "$uv" pip install --quiet --python "$home/bin/python" "checkov==$version" >&2
  touch "$home/.complete"
fi
echo "$home/bin/checkov"
