#!/bin/sh
# Runs one Ray worker inside a step's image: step_container.sh IMAGE MEMORY_BYTES ARGUMENTS...
#
# Ray starts its workers with this script in Python's place. Variables go into the container by name alone, so that
# no value (such as the cluster's token) shows in the process list. Once the worker has ended, the script writes down
# its exit code, and whether the kernel killed it for memory, for the scheduler: Ray itself sees only a broken
# connection.
image=$1
memory=$2
shift 2
name="rayform-step-$$-$(date +%s)"
folder=${RAYFORM_STEP_EXITS:-/tmp/ray/rayform/exits}
mkdir -p "$folder"
find "$folder" -type f -mmin +1440 -delete 2>/dev/null
export RAYFORM_STEP_CONTAINER="$name"

options="--env RAYFORM_STEP_CONTAINER"
for variable in $(env | sed -n 's/^\(RAY_[A-Za-z0-9_]*\)=.*/\1/p') ${RAYFORM_STEP_VARIABLES:-}; do
  options="$options --env $variable"
done
if [ -n "${RAY_AUTH_TOKEN_PATH:-}" ] && [ -f "$RAY_AUTH_TOKEN_PATH" ]; then
  options="$options --volume $RAY_AUTH_TOKEN_PATH:$RAY_AUTH_TOKEN_PATH:ro"
fi
if [ "$memory" != 0 ]; then options="$options --memory $memory --memory-swap $memory"; fi
if [ -e /dev/nvidiactl ]; then options="$options --gpus all"; fi

# The same confinement as in stand_in.py, which says why the container shares the node's user and namespaces.
options="$options --cap-drop ALL --security-opt no-new-privileges --pids-limit $((4096 + 512 * $(nproc)))"

# shellcheck disable=SC2086 # the options hold no blanks
docker run --name "$name" --pull never --network host --pid host --ipc host --user "$(id -u):$(id -g)" \
  --volume /tmp/ray:/tmp/ray --log-driver none --label io.rayform.step="$name" $options \
  --entrypoint python "$image" "$@"
code=$?
docker inspect --format '{"exit_code": {{.State.ExitCode}}, "oom_killed": {{.State.OOMKilled}}, "error": {{json .State.Error}}}' \
  "$name" > "$folder/$name.part" 2>/dev/null && mv "$folder/$name.part" "$folder/$name.json"
docker rm --force "$name" >/dev/null 2>&1
exit $code
