"""The container registry's interface and what an image reference is."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ContainerRegistry", "ImageReference", "RegistryCredentials"]


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
    """Short-lived login for a registry; never logged or stored."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"RegistryCredentials(username={self.username!r}, password=***)"


class ContainerRegistry(abc.ABC):
    """Stores step images. Built with its config and the stack's name."""

    uri: str
    """Host, port and repository that images are pushed to."""

    @abc.abstractmethod
    def credentials(self) -> RegistryCredentials | None:
        """Return a login from the cloud's own chain, or `None` for an open registry."""

    @abc.abstractmethod
    def find(self, tag: str) -> ImageReference | None:
        """Return the image with this tag and its digest, or `None` where the registry has none."""

    @abc.abstractmethod
    def push(
        self, local_tag: str, tag: str, progress: Callable[[Mapping[str, Any]], None] | None = None
    ) -> ImageReference:
        """Push a local image under `tag`; blocks, retries transient faults, reports layer progress."""

    @abc.abstractmethod
    def check(self) -> None:
        """Prove that the registry answers and accepts the login, or raise an error that says what to do."""
