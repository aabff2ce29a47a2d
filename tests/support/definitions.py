# ruff: noqa: E501
"""Hypothesis strategies for stack definitions: valid ones, and invalid ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

REGION = "eu-central-1"
CPU_TYPES = ["t3.medium", "m6i.large", "m6i.2xlarge", "c6i.4xlarge", "r6i.large"]
GPU_TYPES = ["g4dn.xlarge", "g5.xlarge", "g5.12xlarge", "p4d.24xlarge"]
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

names = st.from_regex(r"[a-z](-?[a-z0-9]){0,11}", fullmatch=True)
groups = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True).filter(lambda name: name != "head")
# No `$`, `%` or braces: a definition refuses them, because Terraform could read the text as a template.
words = st.text("abcXYZ019 .:/=+@-_äß中", min_size=1, max_size=20).filter(lambda text: text == text.strip())
ranges = st.builds(lambda a, b, n: f"{a}.{b}.0.0/{n}" if n <= 16 else f"{a}.{b}.7.0/{n}", st.integers(11, 99), st.integers(0, 255), st.sampled_from([16, 24]))  # fmt: skip


def some(**parts: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for mappings with any subset of these keys."""
    return st.fixed_dictionaries({}, optional=parts)


@st.composite
def worker_groups(draw):
    """Draw one group of workers."""
    gpu = draw(st.booleans())
    least = draw(st.integers(0, 3))
    group: dict[str, Any] = {"instance_type": draw(st.sampled_from(GPU_TYPES if gpu else CPU_TYPES))}
    group |= {"min": least, "max": least + draw(st.integers(0, 50)), "gpus": 1 if gpu else 0}
    return group | draw(
        some(spot=st.booleans(), disk_gb=st.integers(30, 16384), idle_timeout_minutes=st.integers(1, 1440), ami=st.just("ami-0123456789abcdef0"))
    )  # fmt: skip


@st.composite
def definitions(draw):
    """Draw a valid definition, as plain data."""
    storage = draw(st.integers(20, 1000))
    existing_catalog = {"host": "db.example.com", "port": draw(st.integers(1, 65535)), "secret_arn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-AbCdEf"}  # fmt: skip
    existing_network = {
        "vpc_id": "vpc-0123456789abcdef0",
        "head_subnet_id": "subnet-0123456789abcdef0",
        "node_subnet_ids": ["subnet-0123456789abcdef1"],
        "database_subnet_ids": ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"],
    }
    days = st.integers(1, 3650)
    required = {"name": draw(names), "region": REGION, "owner": draw(words)}
    reach = {
        "allowed_ingress_cidrs": st.lists(ranges, max_size=4, unique=True),
        "egress_ports": st.lists(st.integers(1, 65535), min_size=1, max_size=5, unique=True),
    }
    in_existing_network = draw(st.booleans())
    zones: dict[str, Any] = {} if in_existing_network else {"zones": st.lists(st.sampled_from([f"{REGION}{z}" for z in "abc"]), min_size=2, max_size=3, unique=True)}  # fmt: skip
    return required | draw(
        some(
            **zones,
            tags=st.dictionaries(st.text("abcXYZ-_", min_size=1, max_size=12).filter(lambda k: k.lower() != "name"), words, max_size=4),
            network=some(**reach).map(lambda network: network | {"existing": existing_network})
            if in_existing_network
            else some(
                cidr=st.sampled_from(["10.0.0.0/16", "10.42.0.0/20", "172.16.8.0/22", "192.168.3.0/24"]),
                private_nodes=st.booleans(),
                **reach,
            ),
            compute=some(
                ray_version=st.sampled_from(["2.50.0", "2.60.0"]),
                python_version=st.sampled_from(["3.11", "3.12", "3.13"]),
                head=some(instance_type=st.sampled_from(CPU_TYPES), disk_gb=st.integers(30, 16384)),
                workers=st.dictionaries(groups, worker_groups(), max_size=4),
                autostop=some(enabled=st.booleans(), idle_minutes=st.integers(1, 10080)),
            ),
            artifact_store=some(
                versioning=st.booleans(), kms_key_arn=st.just(KEY), old_versions_days=st.none() | days,
                incomplete_uploads_days=st.none() | st.integers(1, 365), expire_days=days,
                infrequent_access_days=st.integers(30, 3650), on_destroy=st.sampled_from(["refuse", "keep", "delete"]),
                adopt=st.just("rayform-old-1a2b3c4d"),
            ),
            container_registry=some(
                immutable=st.booleans(), scan_on_push=st.booleans(), keep_images=st.integers(1, 10000),
                untagged_days=days, kms_key_arn=st.just(KEY), adopt=st.just("rayform/old-1a2b3c4d"),
            ),
            catalog=some(
                instance_class=st.sampled_from(["db.t4g.micro", "db.m6g.large"]),
                postgres_version=st.sampled_from(["14", "15", "16", "16.4", "17"]),
                storage_gb=st.just(storage), max_storage_gb=st.none() | st.integers(storage + 1000, 65536),
                backup_days=st.integers(0, 35), multi_az=st.booleans(), deletion_protection=st.booleans(),
                kms_key_arn=st.just(KEY), restore_snapshot=st.just("old-catalog-final"),
            ) | st.just({"existing": existing_catalog}),
            state=st.just({"backend": "local"}) | st.builds(lambda b: {"backend": "s3", "bucket": b}, st.just("team-state")),
        )
    )  # fmt: skip


SPOILT: list[tuple[tuple[str, ...], Any]] = [
    (("name",), "UPPER"), (("name",), "a--b"), (("name",), 7), (("name",), None), (("region",), "nowhere"), (("owner",), ""),
    (("owner",), ["a"]), (("owner",), "${evil}"), (("zones",), ["eu-central-1a"]), (("zones",), ["us-east-1a", "us-east-1b"]),
    (("tags",), {"aws:x": "y"}), (("tags",), {"Name": "y"}), (("tags",), {"k": 1}), (("tags",), "x"), (("version",), 2),
    (("provider",), "gcp"), (("surprise",), 1),
    (("owner",), "me "), (("tags",), {"team ": "a"}), (("tags",), {"team": " a"}),
    (("network", "cidr"), "10.0.0.0/8"), (("network", "cidr"), "not a range"), (("network", "cidr"), "10.0.0.1/16"),
    (("network", "allowed_ingress_cidrs"), ["0.0.0.0/0"]), (("network", "allowed_ingress_cidrs"), ["1.2.3.4/33"]),
    (("network", "private_nodes"), "yes"), (("network", "egress_ports"), [0]), (("network", "egress_ports"), []),
    (("network", "existing"), {}), (("network", "nat"), True),
    (("compute", "ray_version"), 2.6), (("compute", "ray_version"), "1.0"), (("compute", "python_version"), "3.9"),
    (("compute", "head"), {"disk_gb": 1}), (("compute", "head"), {"instance_type": "big"}), (("compute", "head"), []),
    (("compute", "workers"), {"gpu": {}}), (("compute", "workers"), {"GPU": {"instance_type": "g5.xlarge"}}),
    (("compute", "workers"), {"g": {"instance_type": "g5.xlarge", "min": 2, "max": 1}}),
    (("compute", "workers"), {"head": {"instance_type": "m6i.large"}}),
    (("compute", "workers"), {"g": {"instance_type": "g5.xlarge", "gpus": -1}}),
    (("compute", "workers"), {"g": {"instance_type": "g5.xlarge", "spott": True}}),
    (("compute", "autostop"), {"idle_minutes": 0}),
    (("artifact_store", "expire_days"), 0), (("artifact_store", "on_destroy"), "burn"), (("artifact_store", "adopt"), "NO"),
    (("artifact_store", "kms_key_arn"), "key"), (("artifact_store", "versioning"), 1),
    (("container_registry", "keep_images"), 0), (("container_registry", "adopt"), "A//b"),
    (("catalog", "storage_gb"), 19), (("catalog", "postgres_version"), 16), (("catalog", "backup_days"), 36),
    (("catalog", "instance_class"), "micro"), (("catalog", "existing"), {"host": "-"}),
    (("state",), {"backend": "s3"}), (("state",), {"backend": "local", "bucket": "abc"}), (("state",), {"backend": "git"}),
]  # fmt: skip
"""Ways to make a valid definition invalid: the path of a key, and the value to put there."""


@st.composite
def spoilt_definitions(draw):
    """Draw an invalid definition, and the path of the wrong value."""
    definition = draw(definitions())
    path, value = draw(st.sampled_from(SPOILT))
    here = definition
    for part in path[:-1]:
        here = here.setdefault(part, {})
    here[path[-1]] = value
    return definition, path
