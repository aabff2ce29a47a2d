"""Identifiers: unique, of version 7, and in the order of their making."""

from __future__ import annotations

import threading
import uuid

from rayform_core.ids import new_id


def test_ids_of_one_thread_sort_in_the_order_of_their_making() -> None:
    """Later identifiers are greater, also far beyond one counter's width in a millisecond."""
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_ids_follow_rfc_9562() -> None:
    """Version and variant bits are those of a version 7 UUID."""
    made = new_id()
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


def test_ids_of_many_threads_never_collide() -> None:
    """Threads that make identifiers at once get distinct ones."""
    made: list[uuid.UUID] = []

    def make() -> None:
        mine = [new_id() for _ in range(5_000)]
        made.extend(mine)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 40_000
