# What head and workers do alike, after /etc/rayform/node.json is written. No secret is in here: rights come from
# the instance role. A machine image that has Rayform already skips the installs.
set -euo pipefail
exec > >(tee -a /var/log/rayform-boot.log) 2>&1

retry() { # Networks and fresh roles need a moment: five tries, each after a longer pause.
  local try
  for try in 1 2 3 4 5; do
    "$@" && return 0
    sleep $((try * 2))
  done
  echo "rayform: gave up after five tries: $*" >&2
  return 1
}

if ! command -v python3 >/dev/null || ! command -v docker >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  retry apt-get update -q
  retry apt-get install -q -y --no-install-recommends ca-certificates curl docker.io python3 python3-venv
fi

fetcher=/opt/rayform/venv/bin/python
if ! "$fetcher" -c 'import boto3' 2>/dev/null; then
  fetcher=python3
  if ! python3 -c 'import boto3' 2>/dev/null; then
    [ -x /opt/rayform/fetch/bin/python ] || python3 -m venv /opt/rayform/fetch
    retry /opt/rayform/fetch/bin/pip install --quiet 'boto3>=1.36,<2'
    fetcher=/opt/rayform/fetch/bin/python
  fi
fi

mkdir -p /opt/rayform/bootstrap
cat > /opt/rayform/fetch.py <<'PYTHON'
import json, os, pathlib
import boto3

node = json.loads(pathlib.Path("/etc/rayform/node.json").read_text())
s3 = boto3.client("s3", region_name=node["region"], endpoint_url=node["endpoints"].get("s3"))
folder = pathlib.Path("/opt/rayform/bootstrap")
prefix = "system/bootstrap/"
for page in s3.get_paginator("list_objects_v2").paginate(Bucket=node["bucket"], Prefix=prefix):
    for found in page.get("Contents", []):
        name = pathlib.PurePosixPath(found["Key"]).name
        target = folder / name
        s3.download_file(node["bucket"], found["Key"], f"{target}.part")
        os.replace(f"{target}.part", target)
if node["role"] == "head":
    # Its SSH host keys, so that laptops check who answers from the first connection on. Workers may not write here.
    import urllib.request

    imds = "http://169.254.169.254/latest/"
    ask = urllib.request.Request(imds + "api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    token = urllib.request.urlopen(ask, timeout=5).read().decode()
    ask = urllib.request.Request(imds + "meta-data/instance-id", headers={"X-aws-ec2-metadata-token": token})
    instance = urllib.request.urlopen(ask, timeout=5).read().decode()
    keys = [path.read_text().strip() for path in sorted(pathlib.Path("/etc/ssh").glob("ssh_host_*_key.pub"))]
    body = json.dumps({"instance_id": instance, "keys": keys})
    s3.put_object(Bucket=node["bucket"], Key="system/head/ssh_host_keys.json", Body=body.encode())
stack = json.loads((folder / "stack.json").read_text())
stack["node"] = node
target = pathlib.Path("/etc/rayform/stack.json")
target.with_suffix(".part").write_text(json.dumps(stack, indent=2))
target.with_suffix(".part").replace(target)
PYTHON
# From a file: a second try of a script on standard input would find nothing there, and call that success.
retry "$fetcher" /opt/rayform/fetch.py

read -r ray_version python_version < <("$fetcher" -c '
import json
stack = json.load(open("/etc/rayform/stack.json"))
print(stack["ray_version"], stack["python_version"])')

if ! /opt/rayform/venv/bin/python -c "import ray, sys; sys.exit(ray.__version__ != '$ray_version')" 2>/dev/null; then
  [ -x /opt/rayform/fetch/bin/python ] || python3 -m venv /opt/rayform/fetch
  retry /opt/rayform/fetch/bin/pip install --quiet 'uv>=0.5'
  retry /opt/rayform/fetch/bin/uv venv --quiet --clear --python "$python_version" /opt/rayform/venv
  retry /opt/rayform/fetch/bin/uv pip install --quiet --python /opt/rayform/venv/bin/python \
    "ray[default]==$ray_version" "$(echo /opt/rayform/bootstrap/rayform-*.whl)[aws]"
else
  # The image has Ray and what Rayform needs; the wheel alone decides which Rayform runs.
  if [ -x /opt/rayform/venv/bin/pip ]; then pip=/opt/rayform/venv/bin/pip; else pip="/opt/rayform/venv/bin/python -m pip"; fi
  retry $pip install --quiet --no-deps --force-reinstall /opt/rayform/bootstrap/rayform-*.whl
fi
