#!/usr/bin/env bash
# Installs what the emulated cloud and the tests need in addition to Python (for the dashboard, a browser with fonts), and
# starts Docker Engine.
# Works on Debian and Ubuntu, as root or with a sudo that asks for no password; elsewhere it says what to install.
# Idempotent: if everything is installed and the engine answers, it changes nothing and takes a second.
set -euo pipefail
cd "$(dirname "$0")/.."

# Package -> a binary in it. Looking for binaries is faster than asking dpkg, and accepts binaries that were
# installed in another way.
declare -A brings=(
  [docker.io]=dockerd [iptables]=iptables [debootstrap]=debootstrap [docker-registry]=docker-registry
  [openssh-client]=ssh [graphviz]=dot [procps]=pgrep [chromium]=chromium
)

say() { printf '== %s\n' "$*"; }

stop() { printf '%s\n' "$@" >&2; exit 5; }

has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

has_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || has initdb; }

missing_packages() {
  local package
  [ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] || echo fonts-dejavu-core
  for package in "${!brings[@]}"; do has "${brings[$package]}" || echo "$package"; done
  has_postgres || echo postgresql
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

install_packages() {
  local packages=("$@") refuse=/usr/sbin/policy-rc.d made=""
  command -v apt-get >/dev/null 2>&1 || stop \
    "Rayform's emulated cloud needs: ${packages[*]} (names of Debian's packages)." \
    "This isn't Debian or Ubuntu: install Docker Engine (or Docker Desktop, colima), PostgreSQL, an OpenSSH client, pgrep and graphviz by your system's means, then run this again."
  can_be_root || stop \
    "These packages are missing: ${packages[*]}." \
    "Install them: sudo apt-get install ${packages[*]}"
  say "Installing ${packages[*]}"
  # Install only binaries: neither a PostgreSQL cluster nor a registry on port 5000 should start.
  if [[ " ${packages[*]} " == *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    as_root mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  if [ ! -e $refuse ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee $refuse >/dev/null
    as_root chmod 755 $refuse
    made=1
  fi
  local failed=""
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || failed=1
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-confold "${packages[@]}" >/dev/null || failed=1
  [ -z "$made" ] || as_root rm -f $refuse
  [ -z "$failed" ] || stop "apt-get could not install ${packages[*]}; its messages are above."
}

engine_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

start_engine() {
  if engine_answers; then return; fi
  if [ -n "${DOCKER_HOST:-}" ]; then
    stop "Docker Engine at DOCKER_HOST=$DOCKER_HOST doesn't answer. Start it, or unset DOCKER_HOST."
  fi
  if docker version 2>&1 | grep -qi 'permission denied'; then
    stop "Docker Engine runs, but $(id -un) may not use it. Next: sudo usermod -aG docker $(id -un), and log in again."
  fi
  [ "$(uname -s)" = Linux ] || stop "Docker Engine isn't running. Start Docker Desktop (or: colima start), then run this again."
  can_be_root || stop "Docker Engine isn't running. Start it: sudo systemctl start docker"
  say "Starting Docker Engine"
  if [ -d /run/systemd/system ]; then
    as_root systemctl enable --now --quiet docker
  else
    as_root "$(PATH=/usr/bin:$PATH command -v python3)" scripts/start_dockerd.py /var/log/rayform-dockerd.log
  fi
  engine_answers || stop "Docker Engine was started but doesn't answer: $(docker version 2>&1 | tail -1)"
}

mapfile -t missing < <(missing_packages | sort)
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
start_engine
