"""Google Artifact Registry: an OCI registry whose login is an access token from Google's credential chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_core.errors import PrerequisiteError, RemoteError
from rayform_runtime.images.config import GARConfig
from rayform_runtime.images.interface import RegistryCredentials
from rayform_runtime.images.oci import OCIRegistry

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["GARRegistry"]

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class GARRegistry(OCIRegistry):
    """A Docker repository in Google Artifact Registry.

    Args:
        config: the repository's address, `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/…`.
        stack_name: the stack that the registry belongs to, for errors.
    """

    def __init__(self, config: GARConfig, *, stack_name: str = "") -> None:
        super().__init__(config, stack_name=stack_name)
        self._credentials: Credentials | None = None  # from the first call of `credentials` on

    def credentials(self) -> RegistryCredentials | None:
        """See `ContainerRegistry.credentials`. An access token is kept while it is valid."""
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.auth.transport.requests import Request

        try:
            credentials = self._credentials
            if credentials is None:
                credentials, _ = google.auth.default(scopes=[_SCOPE])
                self._credentials = credentials
            if not credentials.valid:
                credentials.refresh(Request())  # type: ignore[no-untyped-call] # google-auth doesn't annotate it
        except DefaultCredentialsError as error:
            raise PrerequisiteError(
                "There are no Google credentials on this machine.",
                why=f"{error}.",
                hint="Log in with `gcloud auth application-default login`.",
            ) from error
        except GoogleAuthError as error:
            raise RemoteError(
                f"Google gave no login for the container registry '{self.host}'.",
                why=f"{error}.",
                hint="Log in again with `gcloud auth application-default login`.",
            ) from error
        # Artifact Registry expects this user name with an access token.
        return RegistryCredentials("oauth2accesstoken", str(credentials.token))

    def _login_hint(self) -> str:
        return "Check that your Google identity has the role Artifact Registry Writer on this repository."
