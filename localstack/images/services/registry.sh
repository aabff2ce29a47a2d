#!/bin/bash
# Runs Debian's OCI registry with the configuration that the supervisor copied in.
set -euo pipefail
exec docker-registry serve /etc/rayform/registry.yml
