"""Image layers that outlive a cloud: this module runs the script that keeps them in the registry's container.

To push an image of a gigabyte, Docker Engine compresses for half a minute, and an emulated cloud begins with an empty
registry. So layers are kept in a volume of this machine (`localstack/images/services/layers.py`). An error here must
not stop a push: without kept layers, it only takes longer.
"""

from __future__ import annotations

import logging
import threading

from rayform_localstack.engine import docker_client

__all__ = ["KeptLayers"]

LINK_WITHIN = 10.0
"""Seconds that a push waits until its repository has the kept layers; afterwards it uploads them itself."""

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
        """Link every kept layer into a repository; return when that is done, or after `LINK_WITHIN` seconds."""
        work = threading.Thread(target=self._run, args=("link", repository), daemon=True)
        work.start()
        work.join(LINK_WITHIN)
        if work.is_alive():
            log.warning(
                "The kept layers weren't linked into %s within %s s: the push goes on.",
                repository,
                LINK_WITHIN,
            )

    def keep(self) -> None:
        """Keep the layers of the registry's images, in the background; calls meanwhile are served together."""
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
            output = engine.exec_start(task).decode(errors="replace").strip()
            code = engine.exec_inspect(task)["ExitCode"]
        except Exception as error:  # noqa: BLE001 - whatever fails, the push goes on
            log.warning("Layers: `%s` failed: %s", arguments[0], error)
            return
        if output or code != 0:
            log.warning("Layers: `%s` ended with exit code %s: %s", arguments[0], code, output[-500:])
