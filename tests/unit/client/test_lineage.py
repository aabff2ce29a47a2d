"""Lineage in every form, small and very deep."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from support.seeded_stack import Seeder, seed_training_run

from rayform.reading.client import Client


def test_upstream_and_downstream(client: Client) -> None:
    """What a version was made from and what was made from it are distinguished."""
    seeded = seed_training_run(client)
    lineage = client.get_lineage(seeded["model"].id)
    assert [v.name for v in lineage.upstream()] == ["data"]
    assert sorted(v.id for v in lineage.downstream()) == sorted(v.id for v in seeded["scores"])
    assert lineage.root.id == seeded["model"].id
    assert [v.name for v in client.get_lineage("data", upstream=False, depth=1).downstream()] != []


def test_tree_says_code_parameters_and_run(client: Client) -> None:
    """The tree names step, parameters, run, stack and code, and a mapped step's instances."""
    seed_training_run(client)
    tree = client.get_lineage("model").to_tree().splitlines()
    assert tree[0].startswith("model 1  [model, ")
    assert tree[1] == "├─ made by step trainer(rate=0.1) in run train-1 on stack default code c0dec0dec0de"
    assert tree[2].startswith("│  └─ rows: data 1")
    assert sum("went into step score" in line for line in tree) == 3


def test_a_very_long_chain_is_drawn(client: Client) -> None:
    """Two thousand steps in a row exhaust neither Python's stack nor the reader's patience."""
    from dataclasses import replace
    from datetime import UTC, datetime
    from uuid import UUID

    from rayform.reading.lineage import Lineage
    from rayform_runtime.catalog.entities import LineageEdge, LineageGraph

    seeded = seed_training_run(client)
    graph = client.get_lineage("data").graph
    step = next(iter(graph.step_runs.values()))
    versions, steps, edges = {}, {}, []
    for number in range(2000):
        version_id, step_id = UUID(int=2 * number + 1), UUID(int=2 * number + 2)
        versions[version_id] = replace(seeded["data"], id=version_id, created_at=datetime.now(UTC))
        steps[step_id] = replace(step, id=step_id)
        edges += [
            LineageEdge(version_id, step_id, "in"),
            LineageEdge(step_id, UUID(int=2 * number + 3), "out"),
        ]
    last = UUID(int=4001)
    versions[last] = replace(seeded["data"], id=last)
    lineage = Lineage(LineageGraph(last, versions, steps, dict(graph.runs), tuple(edges)))
    assert len(lineage.to_tree().splitlines()) == 4001
    assert len(lineage.upstream()) == 2000
    assert lineage.to_mermaid().count("-->") == 4000


def test_hostile_names_stay_names(client: Client) -> None:
    """Quotes, brackets and line breaks in names break no drawing."""
    seeder = Seeder(client, 'run "x" <b>')
    (version,) = seeder.step("loader", {'a"b]|<c>': 1})
    seeder.finish()
    lineage = client.get_lineage(version.id)
    mermaid = lineage.to_mermaid()
    assert "<b>" not in mermaid
    assert mermaid.count('"') % 2 == 0
    assert "<b>" not in lineage._repr_html_()


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_graphviz_draws_it(client: Client) -> None:
    """Graphviz itself takes the drawing."""
    seed_training_run(client, 'name "with" \\ signs')
    text = client.get_lineage("model").to_graphviz()
    done = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "trainer" in done.stdout
