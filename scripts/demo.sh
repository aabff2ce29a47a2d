#!/usr/bin/env bash
# The main job on real input: handwritten digits. An emulated cloud comes up, `stack deploy` makes the stack of
# examples/digits/stack.yaml in it, features and training run there (one step on a GPU node), the model is promoted,
# copied to the default stack and used there, and `stack destroy` leaves nothing. Without Docker, the same Python files
# run only on the default stack.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
export RAYFORM_HOME="${RAYFORM_DEMO_HOME:-$PWD/.rayform/demo}"
# Use Terraform providers that are on this machine already; if there are none, Terraform fetches them.
RAYFORM_TERRAFORM_MIRROR="${RAYFORM_TERRAFORM_MIRROR:-$(scripts/find_provider_mirror.sh)}"
export RAYFORM_TERRAFORM_MIRROR
[ -n "$RAYFORM_TERRAFORM_MIRROR" ] || unset RAYFORM_TERRAFORM_MIRROR

began=$SECONDS
terraform_seconds=0

say() { printf '\n== [%d:%02d] %s\n' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) "$*"; }

in_terraform() { # runs a command and counts its time as Terraform's
  local before=$SECONDS
  "$@"
  terraform_seconds=$((terraform_seconds + SECONDS - before))
}

local_half() {
  say "Features, training, inference on the default stack"
  python examples/digits/run.py
  say "A PyTorch network on the same digits"
  rayform run examples/digits/network.py
}

what_it_knows() {
  say "Runs, models and lineage in the default stack's catalog (RAYFORM_HOME=$RAYFORM_HOME)"
  rayform runs list
  rayform model versions digits
  rayform artifact lineage classifier
}

show_dashboard() { # DASHBOARD=1: leave the dashboard of the finished demo running, and its address on the last line
  [ -n "${DASHBOARD:-}" ] || return 0
  say "The demo's runs in a browser, until: RAYFORM_HOME=$RAYFORM_HOME rayform dashboard stop"
  rayform dashboard --detach --stack default --no-open
}

if ! docker info >/dev/null 2>&1; then
  say "Docker isn't available, so this is only the local half of the demo, without the cloud"
  local_half
  what_it_knows
  show_dashboard
  exit 0
fi

clean_up() {
  status=$?
  if [ $status -ne 0 ]; then
    printf '\nThe demo stopped with exit code %d; ending the emulated cloud.\n' $status >&2
    rayform localstack down >&2 || true
    rm -rf "$RAYFORM_HOME/deployments/digits"
  fi
}
trap clean_up EXIT

say "An emulated cloud on this machine: rayform localstack up"
rayform localstack up
eval "$(rayform localstack env)"

say "The stack in it: rayform stack deploy examples/digits/stack.yaml"
in_terraform rayform stack deploy examples/digits/stack.yaml --target localstack --yes
rayform stack set digits
rayform stack status --no-drift

say "Feature engineering on the cluster"
rayform run examples/digits/run.py:feature_engineering
say "Training on the cluster; the best classifier is promoted to production"
rayform run examples/digits/run.py:training
say "A PyTorch network on a step that asks for a GPU, which brings up a GPU node"
rayform run examples/digits/network.py -p gpus=1
rayform cluster status
rayform runs list

say "Back to the laptop: the promoted model is copied to the default stack"
rayform stack set default
rayform model copy digits production --from digits --stage production
say "Inference on the default stack with the promoted model, the same Python files"
rayform run examples/digits/run.py:inference
what_it_knows

say "rayform stack destroy digits"
in_terraform rayform stack destroy digits --yes
if ! left=$(python scripts/list_cloud.py); then
  printf '%s\n' "$left"
  exit 1
fi
rayform localstack down

printf '\nThe demo took %d s; %d s of that were Terraform (deploy and destroy, most of it waiting for the API).\n' \
  $((SECONDS - began)) "$terraform_seconds"
printf 'Left in the cloud: %s.\n' "$left"
show_dashboard
