"""Image layers that outlive a cloud: the registry's container is told when to show and when to keep them.

Pushing an image of a gigabyte costs Docker Engine half a minute of compressing, and an emulated cloud begins with an
empty registry. So layers lie in a volume of this machine (`localstack/images/services/layers.py`). Nothing here may
hinder a push: without kept layers, it takes longer.
"""

from __future__ import annotations

import logging
import threading

from rayform_localstack.engine import docker_client

__all__ = ["KeptLayers"]

LINK_WITHIN = 10.0
"""Seconds that a push waits for its repository's layers; a push that finds none uploads them."""

SCRIPT = "/usr/lib/rayform-services/layers.py"
log = logging.getLogger(__name__)


class KeptLayers:
    """Runs the script in the registry's container.

    Args:
        container: the registry's container.
        limit: bytes that all kept layers may take.
    """

    def __init__(self, container: str, limit: int) -> None:
        self.container = container
        self.limit = limit
        self._images = threading.Event()
        self._keeper: threading.Thread | None = None

    def link(self, repository: str) -> None:
        """Let a repository have every kept layer; return once it has, or after `LINK_WITHIN` seconds."""
        work = threading.Thread(target=self._run, args=("link", repository), daemon=True)
        work.start()
        work.join(LINK_WITHIN)
        if work.is_alive():
            log.warning(
                "The kept layers aren't in %s within %s s: the push goes on.", repository, LINK_WITHIN
            )

    def keep(self) -> None:
        """Keep the layers of the registry's images, in the background, one time for all that ask meanwhile."""
        self._images.set()
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._follow, daemon=True, name="keep layers")
            self._keeper.start()

    def _follow(self) -> None:
        while self._images.wait():
            self._images.clear()
            self._run("keep", str(self.limit))

    def _run(self, *arguments: str) -> None:
        try:
            engine = docker_client().api
            task = engine.exec_create(self.container, ["python3", SCRIPT, *arguments])["Id"]
            said = engine.exec_start(task).decode(errors="replace").strip()
            code = engine.exec_inspect(task)["ExitCode"]
        except Exception as error:  # noqa: BLE001 - whatever the engine says, the push goes on
            log.warning("Layers: `%s` failed: %s", arguments[0], error)
            return
        if said or code != 0:
            log.warning("Layers: `%s` ended with %s: %s", arguments[0], code, said[-500:])
