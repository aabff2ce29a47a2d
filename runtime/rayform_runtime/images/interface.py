"""The container registry's interface, and references to images."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

__all__ = ["ContainerRegistry", "ImageReference", "LayerProgress", "PushEvent", "RegistryCredentials"]


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A pushed image: `repository:tag@digest`, by the rules of the OCI distribution specification."""

    repository: str
    tag: str
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True, slots=True)
class RegistryCredentials:
    """A short-lived login for a registry; never logged or stored."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"RegistryCredentials(username={self.username!r}, password=***)"


class LayerProgress(TypedDict, total=False):
    """Bytes of a layer that are pushed, and bytes in all."""

    current: int
    total: int


class PushEvent(TypedDict, total=False):
    """What we use of a message of the Docker Engine during a push; `id` is the layer's."""

    id: str
    progressDetail: LayerProgress
    error: str


class ContainerRegistry(abc.ABC):
    """Stores step images. Built with its config and the stack's name."""

    uri: str
    """Host, port and repository that images are pushed to."""

    @abc.abstractmethod
    def credentials(self) -> RegistryCredentials | None:
        """Return a login from the cloud's own credential chain, or `None` for an open registry."""

    @abc.abstractmethod
    def find(self, tag: str) -> ImageReference | None:
        """Return the image with this tag and its digest, or `None` if the registry has none."""

    @abc.abstractmethod
    def push(
        self, local_tag: str, tag: str, progress: Callable[[PushEvent], None] | None = None
    ) -> ImageReference:
        """Push a local image and return its reference; blocks, and retries transient faults.

        Args:
            local_tag: the image's tag on this machine.
            tag: the image's tag in the registry.
            progress: receives each message of the Docker Engine.

        Raises:
            PrerequisiteError: the image isn't on this machine, or the Docker Engine doesn't answer.
            RemoteError: the registry refuses the image.
        """

    @abc.abstractmethod
    def check(self) -> None:
        """Prove that the registry answers and accepts the login, or raise an error that says what to do."""
