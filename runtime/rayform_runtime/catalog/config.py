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
        host, port, database, user: which database, and the user to sign in as.
        password_env: environment variable that holds the password, or
        password_secret: ARN or name of the secret that holds it (JSON with `password`), read with the cloud's own
            credentials. Give neither if the server needs no password. A password itself is never a setting.
        region, endpoint_url: of the secret's API.
        sslmode: libpq's `sslmode`.
        tunnel: an SSH server, `ssh://user@host[:port]`, through which the host is reached.
        ssh_key, known_hosts: the tunnel's private key, and the file with the SSH server's public key.
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
