"""What is taken for a secret: names of parameters, variables and metadata, and values that can't be anything else.

One rule for everything that is stored or shown. A name is read as words, so that `MAX_TOKENS` and
`TOKENIZERS_PARALLELISM` are none, and `apiKey`, `HF_TOKEN` and `db-password` are secrets.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping

__all__ = ["MASK", "is_secret", "is_secret_name", "is_secret_value", "masked", "secret_path"]

MASK = "********"
"""What is shown and stored instead of a secret."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALWAYS = _words(
    """
    password passwd passphrase passcode pwd secret secrets credential credentials creds apikey apitoken
    authtoken accesstoken privatekey secretkey accesskey bearer jwt
    """
)
_KEYS = _words(
    """
    api private secret access encryption encrypt signing sign auth master service client storage account shared
    subscription license deploy hmac aes rsa ssh gpg pgp decryption session webhook
    """
)
"""Words before `key` that make it a secret; `primary_key`, `foreign_key` and `sort_key` are none."""
_ENDINGS = ("password", "passwd", "passphrase", "apikey")
_TEXT_MODELS = _words(
    """
    max min num n no number count total pad padding eos bos unk mask sep cls stop start end special next first
    last previous prev prompt completion input output image audio video text visual query context new cached
    reasoning thinking per target source src tgt tokenizer vocab vocabulary is has use add skip ignore return
    tokens continuation page pagination cursor user assistant system newline class separator begin blank oov
    """
)
"""Words next to `token` that make it a piece of text or a page's mark."""
_POINTERS = _words(
    """
    file files filename path paths dir folder name names env var variable arn url uri endpoint host id ids uuid
    length len size count counts limit limits budget type types kind policy ttl expiry expires expiration age
    hint manager store provider source backend ref reference version rotation enabled required field column
    format pattern regex strength index idx map embedding embeddings embed dim dropout rate ratio prob
    probability weight weights loss per scope scopes santa sauce agent parallelism cost price usage class header
    lifetime
    """
)
"""Last words of a name that only points to a secret, or counts something."""
_REFERENCES = re.compile(
    r"\$\{?\w+\}?|\$\(.*\)|\{\{.*\}\}|<[^<>]*>|\*+|x{3,}|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|arn:aws[a-z-]*:(?:secretsmanager|ssm):.*"
    r"|projects/[^/]+/secrets/.*|(?:env|secret|secrets|vault|ssm|file|op|keyring|gcp|aws)(?::|://).*"
)
"""Values that name where a secret is."""
_LOGIN = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,40}://[^\s/?#:@]*:([^\s/?#@]+)@")


@functools.lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a name is one of a secret.

    Example:
        >>> is_secret_name("HF_TOKEN"), is_secret_name("max_tokens"), is_secret_name("password_file")
        (True, False, False)
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    if not words or (words[-1] in _POINTERS and words[-2:] != ["secret", "id"]):
        return False
    pairs = list(itertools.pairwise(words))
    if any(word in _ALWAYS or word.endswith(_ENDINGS) for word in words) or any(
        a + b in _ALWAYS for a, b in pairs
    ):
        return True
    if any(b in ("key", "keys") and a in _KEYS for a, b in pairs):
        return "public" not in words
    if words[-1] in ("token", "tokens", "pat"):
        before = words[:-1]
        if words[-1] == "tokens":
            return bool({"access", "auth", "api", "refresh", "bearer"} & set(before))
        return (words[-1] == "token" and not (before and before[-1] in _TEXT_MODELS)) or words[-2:] == [
            "github",
            "pat",
        ]
    return False


def is_secret_value(value: object) -> bool:
    """Whether a value is a secret whatever its name: a URL with a password in it.

    Example:
        >>> is_secret_value("postgres://u:pw@host/db"), is_secret_value("postgres://u@host/db")
        (True, False)
    """
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str) or "://" not in value:
        return False
    return any(not _REFERENCES.fullmatch(match[1]) for match in _LOGIN.finditer(value))


def is_secret(name: str, value: object) -> bool:
    """Whether a value under this name must not be stored or shown as it is.

    Numbers, switches and nothing at all are none, and neither is the name of a variable or of a stored secret.
    """
    if is_secret_value(value):
        return True
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return (
        isinstance(value, str)
        and value != ""
        and value != MASK
        and is_secret_name(name)
        and not _REFERENCES.fullmatch(value)
    )


def secret_path(name: str, value: object, *, depth: int = 20) -> str | None:
    """Return where a value holds a secret, such as `"db.password"`, or `None`.

    Args:
        name: the value's own name.
        value: a value as JSON has it; what lies in lists and objects counts.
        depth: levels that are looked into.
    """
    if isinstance(value, Mapping) and depth:
        for key, item in value.items():
            if (found := secret_path(str(key), item, depth=depth - 1)) is not None:
                return f"{name}.{found}"
        return None
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return next((path for item in value if (path := secret_path(name, item, depth=depth - 1))), None)
    return name if is_secret(name, value) else None


def masked(name: str, value: object) -> object:
    """Return a value with the secrets in it replaced by `MASK`; the same object if there are none.

    Args:
        name: the value's own name.
        value: a value as JSON has it.

    Example:
        >>> masked("db", {"user": "ada", "password": "hunter2"})
        {'user': 'ada', 'password': '********'}
    """
    if secret_path(name, value) is None:
        return value
    if isinstance(value, Mapping):
        return {key: masked(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(name, item) for item in value]
    return MASK
