"""Arguments, variables and metadata that are secrets are not stored, and not shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rayform import pipeline, step
from rayform.cli.output import metadata_text, plain
from rayform_core.errors import UsageError
from rayform_core.secret_rules import MASK
from rayform_runtime.catalog.metadata import decode, encode

_SECRET = "hunter2-hunter2"


@step
def use(api_key: str = "", config: dict[str, Any] | None = None, max_tokens: int = 3, url: str = "") -> int:
    return 1


@pytest.mark.parametrize(
    "arguments",
    [{"api_key": _SECRET}, {"config": {"db": {"password": _SECRET}}}, {"config": {"hosts": [f"postgres://u:{_SECRET}@h"]}},
     {"url": f"https://u:{_SECRET}@h"}],
)  # fmt: skip
def test_a_step_refuses_a_secret(arguments: dict[str, Any]) -> None:
    """An argument that is or holds a secret is refused before the run; the error says what to use instead."""

    @pipeline
    def wired() -> None:
        use(**arguments)

    with pytest.raises(UsageError) as refused:
        wired.trace()
    assert _SECRET not in str(refused.value)
    assert "environment variable" in str(refused.value)


def test_variables_that_are_secrets_are_refused() -> None:
    """A step's or pipeline's environment takes MAX_TOKENS and refuses tokens and URLs with passwords."""

    def with_variable(name: str, value: str) -> None:
        @pipeline
        def wired() -> None:
            use.with_options(environment={name: value})()

        wired.trace()

    with_variable("TOKENIZERS_PARALLELISM", "false")
    with_variable("MAX_TOKENS", "512")
    for name, value in (("HF_TOKEN", _SECRET), ("DATABASE_URL", f"postgres://u:{_SECRET}@h")):
        with pytest.raises(UsageError) as refused:
            with_variable(name, value)
        assert name in str(refused.value)
        assert _SECRET not in str(refused.value)


def test_a_pipeline_shows_a_secret_of_its_own_masked() -> None:
    """A secret that only a pipeline's body uses is masked among the run's parameters, also as a default."""

    @pipeline
    def wired(token: str = _SECRET, password: str = "", epochs: int = 3) -> None:
        use(max_tokens=epochs)

    assert _SECRET not in wired.trace(password=_SECRET).model_dump_json()


def test_metadata_that_are_secrets_are_masked() -> None:
    """Metadata named like secrets are stored masked, at any depth; numbers and other text stay."""
    stored = encode(
        {"api_key": _SECRET, "max_tokens": 5, "db": {"password": _SECRET, "host": "h"}, "tokens": [1]}
    )
    assert stored is not None
    assert _SECRET not in stored
    assert decode(stored) == {
        "api_key": MASK,
        "max_tokens": 5,
        "db": {"password": MASK, "host": "h"},
        "tokens": [1],
    }


def test_what_older_rows_hold_is_masked_when_it_is_shown() -> None:
    """Tables and JSON mask secrets that an earlier version, or another program, wrote into a catalog."""
    row = {"parameters": {"password": _SECRET, "epochs": 3}, "url": f"https://u:{_SECRET}@h"}
    assert _SECRET not in json.dumps(plain(row))
    assert _SECRET not in metadata_text(row)
    assert plain(row)["parameters"]["epochs"] == 3  # type: ignore[index, call-overload]
