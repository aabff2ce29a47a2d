#!/usr/bin/env bash
# Follows the README on a bare Debian machine: a container without this machine's tools, Python packages and caches.
# It clones the last commit, sets it up and runs the fast tests. So a tool that happens to be installed on a developer's
# machine can't hide a missing step. The container is removed at the end. It uses this machine's Docker Engine, since an
# engine inside a container needs more rights than some hosts give; the fast tests start no container.
#
# The container gets the network settings that a fresh machine in the same network would have: trusted certificates, package
# indexes without a login, and a folder of local wheels.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

image=$(python -c 'from rayform_localstack.images import debian_image; print(debian_image())')
work=$(mktemp -d)
container=""
clean_up() {
  [ -z "$container" ] || docker rm --force --volumes "$container" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap clean_up EXIT INT TERM
git clone --quiet --no-hardlinks . "$work/rayform"

options=(--volume /var/run/docker.sock:/var/run/docker.sock --volume "$work/rayform:/source:ro" --env CI=true)
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -f "$certificates" ]; then
  options+=(--volume "$certificates:/etc/ssl/certs/ca-certificates.crt:ro" --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt)
fi
for setting in PIP_INDEX_URL PIP_EXTRA_INDEX_URL UV_INDEX_URL UV_DEFAULT_INDEX HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  case ${!setting:-} in "" | *file:* | *//*@*) ;; *) options+=(--env "$setting") ;; esac
done
wheels=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
if [ -d "$wheels" ]; then options+=(--volume "$wheels:/wheels:ro" --env PIP_FIND_LINKS=/wheels); fi

container=$(docker run --detach "${options[@]}" "$image" sleep infinity)
docker exec "$container" bash -euo pipefail -c '
  export DEBIAN_FRONTEND=noninteractive
  # The packages that the README asks for.
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends git make python3-venv >/dev/null
  git config --global --add safe.directory "*"
  git clone --quiet /source /rayform
  cd /rayform
  make setup
  .venv/bin/python -m pytest -q -n 2 -m "not slow and not docker and not localstack and not e2e and not ray and not terraform" tests
'
