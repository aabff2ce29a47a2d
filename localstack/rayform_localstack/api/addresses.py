"""Loopback addresses that stand for public ones: `127.77.SLOT.10` and up, one for each network interface."""

from __future__ import annotations

import threading

__all__ = ["AddressPool"]


class AddressPool:
    """Hands out loopback addresses, the same one to the same owner until it is given back.

    Args:
        slot: the cloud's number.
    """

    def __init__(self, slot: int) -> None:
        self._free = [f"127.77.{slot}.{last}" for last in range(254, 9, -1)]
        self._taken: dict[str, str] = {}
        self._lock = threading.Lock()

    def take(self, owner: str) -> str:
        """Return this owner's address."""
        with self._lock:
            if owner not in self._taken:
                if not self._free:
                    raise RuntimeError("the emulated cloud has no loopback address left (245 are in use)")
                self._taken[owner] = self._free.pop()
            return self._taken[owner]

    def give_back(self, owner: str) -> None:
        """Free this owner's address; one that has none changes nothing."""
        with self._lock:
            address = self._taken.pop(owner, None)
            if address is not None:
                # To the far end: an address just freed may still be in somebody's known_hosts or connection.
                self._free.insert(0, address)
