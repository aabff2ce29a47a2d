"""What the Google Cloud client raises, as errors that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rayform_core.errors import ConflictError, NotFoundError, PrerequisiteError, RayformError, RemoteError

__all__ = ["translated"]


@contextlib.contextmanager
def translated(bucket: str, *, key: str = "", writing: bool = False) -> Iterator[None]:
    """Turn errors of google-cloud-storage raised inside into those of the one tree.

    Args:
        bucket: the bucket at work.
        key: the key relative to the store's root, where one is at work.
        writing: the key is written, so that what can't be found is the bucket.
    """
    import google.auth.exceptions as auth
    import requests
    from google.api_core import exceptions as api
    from google.cloud.storage import exceptions as storage

    try:
        yield
    except RayformError:
        raise
    except api.NotFound as error:
        if writing or not key or "specified bucket does not exist" in str(error).lower():
            raise NotFoundError(
                "bucket",
                bucket,
                why=f"{error.message}.",
                hint="Check the store's `bucket` and `project`, or create it with `rayform stack deploy`.",
            ) from error
        raise NotFoundError("object", key, why=f"Bucket '{bucket}' has none of this key.") from error
    except api.PreconditionFailed as error:
        raise ConflictError(f"'{key}' exists already in bucket '{bucket}'.") from error
    except (auth.DefaultCredentialsError, auth.RefreshError, api.Unauthorized) as error:
        raise PrerequisiteError(
            f"Bucket '{bucket}' can't be reached without Google Cloud credentials.",
            why=f"{str(error).rstrip('.')}.",
            hint="Log in with `gcloud auth application-default login`.",
        ) from error
    except api.Forbidden as error:
        raise RemoteError(
            f"Access to bucket '{bucket}' is denied" + (f" for '{key}'." if key else "."),
            why=f"{error.message}.",
            hint="The account needs the role roles/storage.objectUser on the bucket.",
        ) from error
    except (api.TooManyRequests, api.ServiceUnavailable) as error:
        raise RemoteError(
            f"Bucket '{bucket}' is too busy.",
            why=f"{error.message}.",
            hint="It was tried several times. Wait a little, and run it again.",
        ) from error
    except storage.DataCorruption as error:
        raise RemoteError(
            f"'{key}' changed on its way from or to bucket '{bucket}'.",
            why=f"{error}.",
            hint="Run it again; if it goes on, look for a proxy or a failing disk on the way.",
        ) from error
    except api.GoogleAPICallError as error:
        raise RemoteError(
            f"Bucket '{bucket}' refused" + (f" '{key}'." if key else "."),
            why=f"{error.message}.",
            hint="It was tried several times where that could help.",
        ) from error
    except (
        api.RetryError,
        auth.TransportError,
        storage.InvalidResponse,
        requests.RequestException,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise RemoteError(
            f"Bucket '{bucket}' did not answer as it should" + (f" on '{key}'." if key else "."),
            why=f"{type(error).__name__}: {error}.",
            hint="It was tried several times. Check the network and the store's `endpoint_url`, and run it again.",
        ) from error
