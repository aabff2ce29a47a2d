"""`cache_files`, `cache_on` and `cache_policy`: what a result depends on, in addition to code and inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from rayform.authoring.options.written import CommonOptions, WrittenStepOptions

__all__ = ["CacheOptions", "cache_options"]


class CacheOptions(NamedTuple):
    """What a step's result depends on, in addition to its code and inputs."""

    files: Sequence[str | Path] | str | Path = ()
    on: object = None


def cache_options(written: CommonOptions, *, what: str) -> CacheOptions:
    """Return `cache_files` and `cache_on`, or the same as a cache policy says it.

    Raises:
        UsageError: both are given, or the policy asks for what Rayform's cache can't do.
    """
    options = cast("WrittenStepOptions", written)
    plain = CacheOptions(options.get("cache_files", ()), options.get("cache_on"))
    if "cache_policy" not in options:
        return plain
    if plain != CacheOptions():
        raise UsageError(
            f"{what} has a 'cache_policy' and also 'cache_files' or 'cache_on'.", hint="Keep one of them."
        )
    from rayform.zenml.forms.settings import CachePolicy

    policy = CachePolicy.read(options["cache_policy"], what=what)
    if isinstance(policy.cache_func, str):
        raise UsageError(
            f"{what} has a cache policy whose 'cache_func' is a text.", hint="Give the function."
        )
    return CacheOptions(policy.files(), policy.cache_func)
