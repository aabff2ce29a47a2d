"""What a machine's commands answer to a laptop: JSON on one line, written and read by the same types."""

from __future__ import annotations

import time

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["AutostopStatus", "HeadStatus", "SettingsChanges"]


class _Answer(BaseModel):
    # A newer head may report more than this version reads.
    model_config = ConfigDict(extra="ignore", frozen=True)


class AutostopStatus(_Answer):
    """The state of the head's autostop.

    Args:
        enabled: whether an idle head stops itself.
        idle_minutes: after how many idle minutes.
        stops_at: when, in seconds since the epoch; `None` while the cluster isn't idle.
    """

    enabled: bool = True
    idle_minutes: float = 60
    stops_at: float | None = None

    def stops_in(self) -> float | None:
        """Return the seconds that are left until the head stops; `None` while nothing counts down."""
        return None if self.stops_at is None else max(0.0, self.stops_at - time.time())


class HeadStatus(_Answer):
    """The state of a head.

    Args:
        ready: whether it can run something.
        phase: what it does, in words.
        version, ray_version, python_version: what it runs; `None` while it boots.
        private_ip, instance_id: the machine; `None` while it boots.
        activity: what goes on in the cluster, in words.
        jobs, workers: how many of them run.
        autostop: `None` until the head's watch has looked once.
        at: when this was written, in seconds since the epoch.
    """

    ready: bool = False
    phase: str = "booting"
    version: str | None = None
    ray_version: str | None = None
    python_version: str | None = None
    private_ip: str | None = None
    instance_id: str | None = None
    activity: str | None = None
    jobs: int | None = None
    workers: int | None = None
    autostop: AutostopStatus | None = None
    at: float | None = None

    @classmethod
    def read(cls, text: str | bytes) -> HeadStatus:
        """Read a status; treat text that isn't one as the status of a head that is booting."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return cls()


class SettingsChanges(_Answer):
    """Keys of the settings that a deploy changed, by the moment at which the head applies them.

    Args:
        taken: applied now.
        waiting: applied once no run is running.
        at_start: applied when the head starts next.
    """

    taken: list[str] = []
    waiting: list[str] = []
    at_start: list[str] = []
