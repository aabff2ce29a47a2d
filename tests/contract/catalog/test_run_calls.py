"""Calls of dynamic pipelines, on each catalog."""

from __future__ import annotations

import pytest
from support.catalogs import Scene

from rayform_core.errors import NotFoundError
from rayform_core.ids import new_id
from rayform_runtime.catalog.calls import RunCall
from rayform_runtime.catalog.interface import Catalog


def test_calls_are_listed_in_their_order_and_replaced_by_position(catalog: Catalog) -> None:
    """What is recorded comes back; a second call at a position takes the place of the first; a deleted run has none."""
    run_id = Scene(catalog).run().id
    first, second = RunCall(0, {"key": "a"}), RunCall(1, {"key": "b", "inputs": {"x": [1, None]}}, ("a",))
    catalog.record_calls(run_id, [second])
    catalog.record_calls(run_id, [first])
    assert catalog.list_calls(run_id) == [first, second]
    changed = RunCall(1, {"key": "c"})
    catalog.record_calls(run_id, [changed])
    assert catalog.list_calls(run_id) == [first, changed]
    catalog.record_calls(run_id, [])
    with pytest.raises(NotFoundError):
        catalog.record_calls(new_id(), [first])
