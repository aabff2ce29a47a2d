#!/bin/bash
# Runs Debian's OCI registry with the configuration that the supervisor copied in.
set -euo pipefail
layers=/var/lib/rayform/layers
if [ -d $layers ]; then
  # The lock lasts as long as the registry: it inherits the descriptor, and the kernel frees it however that ends.
  exec 9>>$layers/lock
  # The supervisor asks to prune when no other cloud exists; one that started since holds the lock.
  if [ -e /etc/rayform/prune ] && flock --nonblock --exclusive 9; then
    python3 /usr/lib/rayform-services/layers.py prune "$(cat /etc/rayform/prune)" || echo "layers weren't pruned" >&2
  fi
  rm -f /etc/rayform/prune
  flock --shared 9
fi
exec docker-registry serve /etc/rayform/registry.yml
