#!/bin/bash
# Runs Debian's OCI registry with the configuration that the supervisor has copied in.
set -euo pipefail
layers=/var/lib/rayform/layers
if [ -d $layers ]; then
  # The registry inherits the descriptor, so the lock lasts until the registry ends, however it ends.
  exec 9>>$layers/lock
  # The supervisor orders a pruning if no other cloud exists; a cloud that has started since then holds the lock.
  if [ -e /etc/rayform/prune ] && flock --nonblock --exclusive 9; then
    python3 /usr/lib/rayform-services/layers.py prune "$(cat /etc/rayform/prune)" || echo "The kept layers weren't pruned." >&2
  fi
  rm -f /etc/rayform/prune
  flock --shared 9
fi
exec docker-registry serve /etc/rayform/registry.yml
