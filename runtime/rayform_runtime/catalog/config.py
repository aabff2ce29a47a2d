"""Settings of the catalog flavors."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rayform_core.network import is_google_api, is_loopback

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
        sslmode: libpq's `sslmode`. `verify-full` checks that the server is the one that its name says. Off this machine
            the weakest mode is `require`.
        ca_bundle: what the server's certificate is checked against: `aws-rds` for the roots of Amazon RDS, `system` for
            those of the machine, the path of a PEM file, or its text; by default, libpq's own file.
        require_auth: how the server must ask for the password. The default never shows the password to the server.
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
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "require"
    ca_bundle: str | None = None
    require_auth: str = "scram-sha-256"
    tunnel: str | None = None
    ssh_key: str | None = None
    known_hosts: str | None = None

    @model_validator(mode="after")
    def _safe_hosts(self) -> PostgresConfig:
        weak = self.sslmode in ("disable", "allow", "prefer")
        if weak and not all(is_loopback(host) for host in self.host.split(",")):
            raise ValueError(
                f"sslmode '{self.sslmode}' would let a server off this machine be reached without TLS; use verify-full"
            )
        google = (self.password_secret or "").startswith("projects/")
        if google and self.endpoint_url is not None and not is_google_api(self.endpoint_url):
            raise ValueError(
                f"'{self.endpoint_url}' is not an API of Google, and would get your access token"
            )
        return self
