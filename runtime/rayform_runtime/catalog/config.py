"""Settings of the catalog flavors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PostgresConfig", "SQLiteConfig"]


class SQLiteConfig(BaseModel):
    """Settings of flavor `sqlite`: `path` is an absolute file."""

    model_config = ConfigDict(extra="forbid")

    path: str


class PostgresConfig(BaseModel):
    """Settings of flavor `postgres`.

    Args:
        host, port, database, user: where and as whom.
        password_env: environment variable that holds the password, or
        password_secret: ARN or name of the secret that holds it (JSON with `password`), read with the
            cloud's own credentials; neither where the server asks for none. A password itself is never a
            setting.
        region, endpoint_url: of the secret's API.
        sslmode: libpq's `sslmode`; `require` unless told.
        tunnel: `ssh://user@host[:port]` to go through to reach the host, with `ssh_key` and `known_hosts`.
    """

    model_config = ConfigDict(extra="forbid")

    host: str
    port: int = Field(default=5432, gt=0, lt=65536)
    database: str = "rayform"
    user: str = "rayform"
    password_env: str | None = None
    password_secret: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    sslmode: str = "require"
    tunnel: str | None = None
    ssh_key: str | None = None
    known_hosts: str | None = None
