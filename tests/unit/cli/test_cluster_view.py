"""What the command line says of clusters."""

from click.testing import CliRunner

from rayform.cli import cluster_view

OVERVIEW = {
    "ready": True, "phase": "Ray runs", "activity": "1 job, 1 worker", "runs": ["0199-8a2d"], "pending_nodes": [],
    "autostop": {"enabled": True, "idle_minutes": 60, "stops_in": 95.0},
    "nodes": [
        {"address": "10.20.1.17", "role": "worker", "state": "alive", "cpus": 4.0, "gpus": 1.0,
         "memory": 9.5 * 2**30, "runs": ["train"]},
    ],
}  # fmt: skip


def test_nodes_and_the_countdown_are_shown():
    """A node's resources and what runs on it are in one line, and the autostop counts down."""
    import click

    done = CliRunner().invoke(click.command()(lambda: cluster_view.print_cluster(OVERVIEW)))
    assert done.exit_code == 0, done.output
    node = next(line for line in done.output.splitlines() if "10.20.1.17" in line)
    assert node.split() == ["10.20.1.17", "worker", "alive", "4", "1", "9.5", "GiB", "train"]
    assert "stops in 1 min 35 s" in done.output


def test_an_unreachable_head_is_a_fact(tmp_path):
    """A head that refuses connections gives one sentence instead of a failure."""
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.head import ClusterHead

    known = tmp_path / "known_hosts"
    known.touch()
    head = ClusterHead(RayOrchestratorConfig(address="ssh://ubuntu@127.0.0.1:9", known_hosts=str(known)))
    assert "can't be reached by SSH" in cluster_view.ask_cluster(head)["unreachable"]


def test_nodes_on_their_way_are_put_into_words():
    """Ray's report names them by lists; what is of another form is shown as it is."""
    from rayform_runtime.cluster.from_laptop import overview

    pending = [["10.42.0.6", "cpu", "uninitialized"], "x", {"a": 1}]
    assert overview._pending(pending) == [
        "a node of group 'cpu' at 10.42.0.6 (uninitialized)",
        "x",
        '{"a": 1}',
    ]


def test_the_autostop_counts_in_whole_minutes_where_it_can():
    """Settings come as decimals from the machine, and are shown as a user would write them."""
    assert cluster_view.countdown({"idle_minutes": 60.0}).startswith("after 60 idle minutes")
    assert cluster_view.countdown({"idle_minutes": 0.5}).startswith("after 0.5 idle minutes")
