"""Loopback addresses in place of public ones: `127.77.SLOT.10` and up, one for each network interface."""

from __future__ import annotations

import threading

__all__ = ["AddressPool"]


class AddressPool:
    """Assigns loopback addresses: an owner keeps the same one until it gives it back.

    Args:
        slot: the cloud's number.
    """

    def __init__(self, slot: int) -> None:
        self._free = [f"127.77.{slot}.{last}" for last in range(254, 9, -1)]
        self._by_owner: dict[str, str] = {}
        self._lock = threading.Lock()

    def take(self, owner: str) -> str:
        """Return this owner's address."""
        with self._lock:
            if owner not in self._by_owner:
                if not self._free:
                    raise RuntimeError("The emulated cloud has no free loopback address (245 are in use).")
                self._by_owner[owner] = self._free.pop()
            return self._by_owner[owner]

    def give_back(self, owner: str) -> None:
        """Free this owner's address, if it has one."""
        with self._lock:
            address = self._by_owner.pop(owner, None)
            if address is not None:
                # It is used again last: it may still be in a known_hosts file or in an open connection.
                self._free.insert(0, address)
