"""What botocore raises, as errors that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rayform_core.errors import PrerequisiteError, RayformError, RemoteError
from rayform_runtime.artifacts.stores import bucket_errors

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
    """Return the error code in the server's answer, or an empty string."""
    return _answer(error).get("Code", "")


def _answer(error: BaseException) -> dict[str, str]:
    """Return what the server's answer says about the error: `Code`, `Message`, `Region`."""
    response = getattr(error, "response", None)
    details = response.get("Error", {}) if isinstance(response, dict) else {}
    return {str(name): str(value) for name, value in details.items()}


@contextlib.contextmanager
def translated(bucket: str, *, key: str = "", region: str | None = None) -> Iterator[None]:
    """Turn what botocore and s3transfer raise inside into errors of Rayform.

    Args:
        bucket: the bucket in use.
        key: the key in use, relative to the store's root; empty for a request to the bucket itself.
        region: the region that the store's settings name.
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
        raise bucket_errors.missing_credentials(
            bucket,
            "AWS",
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
        raise bucket_errors.no_answer(bucket, key, error) from error
    except failures.BotoCoreError as error:
        raise RemoteError(
            f"The AWS client failed on bucket '{bucket}'.", why=f"{type(error).__name__}: {error}."
        ) from error


def _from_answer(error: BaseException, bucket: str, key: str, region: str | None) -> RayformError:
    code = error_code(error)
    text = str(error).rstrip(".") + "."
    if code == "NoSuchBucket":
        return bucket_errors.missing_bucket(bucket, settings="`bucket` and `region`")
    if code in _GONE:
        return bucket_errors.missing_object(bucket, key)
    if code in _TAKEN:
        return bucket_errors.object_exists(bucket, key)
    if code in _BAD_KEYS:
        return PrerequisiteError(
            f"AWS does not accept the credentials for bucket '{bucket}'.",
            why=text,
            hint="Log in again, for instance with `aws sso login`, and check this machine's clock.",
        )
    if code in _DENIED:
        return bucket_errors.access_denied(
            bucket,
            key,
            why=text,
            hint="The role needs s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and s3:DeleteObject on "
            "its objects. With a KMS key it also needs kms:Decrypt and kms:GenerateDataKey.",
        )
    if code in _REGION:
        home = _answer(error).get("Region")
        where = f"'{home}'" if home else "the region of the bucket"
        return RemoteError(
            f"Bucket '{bucket}' is not in region '{region}'.",
            why=text,
            hint=f"Set the store's `region` to {where}.",
        )
    if code in _BUSY:
        return bucket_errors.busy(bucket, why=text)
    if code.startswith("KMS."):
        return RemoteError(
            f"Bucket '{bucket}' can't encrypt or decrypt.",
            why=text,
            hint="Check that the key in the store's `kms_key_id` is enabled and that the role may use it.",
        )
    return bucket_errors.refused(bucket, key, why=text)
