"""What the Google Cloud client raises, as errors that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rayform_core.errors import RayformError
from rayform_runtime.artifacts.stores import bucket_errors

__all__ = ["translated"]


@contextlib.contextmanager
def translated(bucket: str, *, key: str = "", writing: bool = False) -> Iterator[None]:
    """Turn what google-cloud-storage raises inside into errors of Rayform.

    Args:
        bucket: the bucket in use.
        key: the key in use, relative to the store's root; empty for a request to the bucket itself.
        writing: the request writes the key, so that an answer "not found" means the bucket.
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
            raise bucket_errors.missing_bucket(
                bucket, settings="`bucket` and `project`", why=f"{error.message}."
            ) from error
        raise bucket_errors.missing_object(bucket, key) from error
    except api.PreconditionFailed as error:
        raise bucket_errors.object_exists(bucket, key) from error
    except (auth.DefaultCredentialsError, auth.RefreshError, api.Unauthorized) as error:
        raise bucket_errors.missing_credentials(
            bucket,
            "Google Cloud",
            why=f"{str(error).rstrip('.')}.",
            hint="Log in with `gcloud auth application-default login`.",
        ) from error
    except api.Forbidden as error:
        raise bucket_errors.access_denied(
            bucket,
            key,
            why=f"{error.message}.",
            hint="The account needs the role roles/storage.objectUser on the bucket.",
        ) from error
    except (api.TooManyRequests, api.ServiceUnavailable) as error:
        raise bucket_errors.busy(bucket, why=f"{error.message}.") from error
    except storage.DataCorruption as error:
        raise bucket_errors.changed_in_transit(bucket, key, why=f"{error}.") from error
    except api.GoogleAPICallError as error:
        raise bucket_errors.refused(bucket, key, why=f"{error.message}.") from error
    except (
        api.RetryError,
        auth.TransportError,
        storage.InvalidResponse,
        requests.RequestException,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise bucket_errors.no_answer(bucket, key, error) from error
