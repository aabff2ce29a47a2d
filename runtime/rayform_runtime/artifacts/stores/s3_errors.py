"""What botocore raises, as errors that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rayform_core.errors import ConflictError, NotFoundError, PrerequisiteError, RayformError, RemoteError

__all__ = ["error_code", "translated"]

_GONE = ("NoSuchKey", "404", "NotFound")
_TAKEN = ("PreconditionFailed", "412")
_DENIED = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem")
_BAD_KEYS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestExpired",
    "UnrecognizedClientException",
)
_BUSY = ("SlowDown", "503", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded")
_REGION = (
    "PermanentRedirect",
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "TemporaryRedirect",
)


def error_code(error: BaseException) -> str:
    """Return the error code that the server answered with, or an empty string."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


@contextlib.contextmanager
def translated(bucket: str, *, key: str = "", region: str | None = None) -> Iterator[None]:
    """Turn errors of botocore and s3transfer raised inside into those of the one tree.

    Args:
        bucket: the bucket at work.
        key: the key relative to the store's root, where one is at work.
        region: the region that the client was told.
    """
    import botocore.exceptions as failures
    import s3transfer.exceptions as transfer_failures
    import urllib3.exceptions as network_failures

    try:
        yield
    except RayformError:
        raise
    except failures.ClientError as error:
        raise _from_answer(error, bucket, key, region) from error
    except (
        failures.NoCredentialsError,
        failures.PartialCredentialsError,
        failures.CredentialRetrievalError,
    ) as error:
        raise PrerequisiteError(
            f"Bucket '{bucket}' can't be reached without AWS credentials.",
            why=f"{error}.",
            hint="Log in with `aws sso login` or `aws configure`, or set AWS_PROFILE.",
        ) from error
    except (failures.ProfileNotFound, failures.TokenRetrievalError, failures.SSOError) as error:
        raise PrerequisiteError(
            f"Bucket '{bucket}' can't be reached with the AWS profile that is set.",
            why=f"{error}.",
            hint="Log in with `aws sso login`, or set AWS_PROFILE to a profile that exists.",
        ) from error
    except (failures.NoRegionError, failures.InvalidRegionError) as error:
        raise PrerequisiteError(
            f"Bucket '{bucket}' can't be reached: {error}.",
            hint="Set the store's `region`, or AWS_DEFAULT_REGION.",
        ) from error
    except (
        failures.HTTPClientError,
        failures.ConnectionError,
        failures.IncompleteReadError,
        failures.ResponseStreamingError,
        failures.FlexibleChecksumError,
        transfer_failures.RetriesExceededError,
        network_failures.HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise RemoteError(
            f"Bucket '{bucket}' did not answer as it should" + (f" on '{key}'." if key else "."),
            why=f"{type(error).__name__}: {error}.",
            hint="It was tried several times. Check the network and the store's `endpoint_url`, and run it again.",
        ) from error
    except failures.BotoCoreError as error:
        raise RemoteError(
            f"The AWS client failed on bucket '{bucket}'.", why=f"{type(error).__name__}: {error}."
        ) from error


def _from_answer(error: BaseException, bucket: str, key: str, region: str | None) -> RayformError:
    code = error_code(error)
    text = str(error).rstrip(".") + "."
    if code == "NoSuchBucket":
        return NotFoundError(
            "bucket",
            bucket,
            hint="Check the store's `bucket` and `region`, or create it with `rayform stack deploy`.",
        )
    if code in _GONE:
        return NotFoundError("object", key, why=f"Bucket '{bucket}' has none of this key.")
    if code in _TAKEN:
        return ConflictError(f"'{key}' exists already in bucket '{bucket}'.")
    if code in _BAD_KEYS:
        return PrerequisiteError(
            f"AWS does not accept the credentials for bucket '{bucket}'.",
            why=text,
            hint="Log in again, with `aws sso login` for instance; check this machine's clock.",
        )
    if code in _DENIED:
        return RemoteError(
            f"Access to bucket '{bucket}' is denied" + (f" for '{key}'." if key else "."),
            why=text,
            hint="The role needs s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and s3:DeleteObject on "
            "its objects; with a KMS key also kms:Decrypt and kms:GenerateDataKey.",
        )
    if code in _REGION:
        where = getattr(error, "response", {}).get("Error", {}).get("Region")
        return RemoteError(
            f"Bucket '{bucket}' is not in region '{region}'.",
            why=text,
            hint=f"Set the store's `region` to '{where}'."
            if where
            else "Set the store's `region` to the bucket's.",
        )
    if code in _BUSY:
        return RemoteError(
            f"Bucket '{bucket}' is too busy.",
            why=text,
            hint="It was tried several times. Wait a little, and run it again.",
        )
    if code.startswith("KMS."):
        return RemoteError(
            f"Bucket '{bucket}' can't encrypt or decrypt.",
            why=text,
            hint="Check that the store's `kms_key_id` is enabled and that the role may use it.",
        )
    return RemoteError(
        f"Bucket '{bucket}' refused" + (f" '{key}'." if key else "."),
        why=text,
        hint="It was tried several times where that could help.",
    )
