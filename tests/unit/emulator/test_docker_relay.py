"""What the relay of a machine's Docker socket makes of a request to create a container."""

from __future__ import annotations

import importlib.util
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "localstack" / "images" / "machine" / "docker_socket.py"


@pytest.fixture
def node() -> Any:
    """A machine as the engine describes it, without an engine."""
    spec = importlib.util.spec_from_file_location("docker_socket", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = object.__new__(module.Node)
    made.id, made.labels, made.root = "n0de", {"rayform.localstack": "c"}, "/engine/merged"
    made.mounts = [(PurePosixPath("/data"), "/engine/volume")]
    return made


@pytest.mark.parametrize("mode", ["host", "default", "bridge", ""])
def test_networks_that_are_the_machine_s_become_its_namespace(node: Any, mode: str) -> None:
    """The host's network, and the default one, become the node's; settings that conflict with it are dropped."""
    spec = node.adopt(
        {
            "Hostname": "x",
            "HostConfig": {"NetworkMode": mode, "PidMode": "host", "IpcMode": "host", "ShmSize": 1},
        }
    )
    host = spec["HostConfig"]
    assert [host[k] for k in ("NetworkMode", "PidMode", "IpcMode")] == ["container:n0de"] * 3
    assert "Hostname" not in spec
    assert "ShmSize" not in host


def test_a_network_of_its_own_stays(node: Any) -> None:
    """A named network is the user's choice."""
    assert node.adopt({"HostConfig": {"NetworkMode": "mine"}})["HostConfig"]["NetworkMode"] == "mine"


def test_folders_are_the_machine_s(node: Any, tmp_path: Path) -> None:
    """A bind mount names the machine's root, or the volume that is mounted there; a named volume stays."""
    binds = node.adopt({"HostConfig": {"Binds": [f"{tmp_path}:/in:ro", "named:/z"]}})["HostConfig"]["Binds"]
    assert binds[0] == f"/engine/merged{tmp_path.resolve()}:/in:ro"
    assert binds[-1] == "named:/z"
    assert node.on_host("/data/x") == "/engine/volume/x"


def test_a_missing_source_is_refused_where_docker_refuses_it(node: Any) -> None:
    """`--mount` of a folder that isn't there is an error, as on any engine."""
    with pytest.raises(LookupError, match="does not exist"):
        node.adopt({"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/not/there", "Target": "/x"}]}})


def test_gpus_are_logical_and_labels_name_cloud_and_node(node: Any) -> None:
    """No real GPU is asked for, and the container bears the labels by which it is removed."""
    spec = node.adopt(
        {
            "Labels": {"own": "1"},
            "HostConfig": {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}], "Runtime": "nvidia"},
        }
    )
    assert spec["HostConfig"]["DeviceRequests"] == []
    assert "Runtime" not in spec["HostConfig"]
    assert spec["Labels"] == {
        "own": "1", "rayform.localstack": "c", "rayform.kind": "step", "rayform.node": "n0de",
    }  # fmt: skip
