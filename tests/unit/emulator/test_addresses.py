"""Loopback addresses are handed out once, kept by their owner, and come back."""

from __future__ import annotations

import pytest

from rayform_localstack.api.addresses import AddressPool


def test_an_owner_keeps_its_address_and_no_two_share_one() -> None:
    """The same owner gets the same address again; two owners never do."""
    pool = AddressPool(7)
    first = pool.take("eni-1")
    assert first.startswith("127.77.7.")
    assert pool.take("eni-1") == first
    assert pool.take("eni-2") != first


def test_a_freed_address_comes_back_last() -> None:
    """An address just freed is the last to be handed out again, and a full pool says so."""
    pool = AddressPool(1)
    owners = [f"eni-{n}" for n in range(245)]
    taken = [pool.take(owner) for owner in owners]
    assert len(set(taken)) == 245
    with pytest.raises(RuntimeError, match="no free loopback address"):
        pool.take("one-more")
    pool.give_back("eni-3")
    pool.give_back("eni-3")
    assert pool.take("one-more") == taken[3]
