"""`rayform run`: runs a pipeline from a file or module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rayform.cli.options import stack_option

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline
    from rayform.authoring.signatures import Argument

__all__ = ["run"]


@click.command("run")
@click.argument("target", metavar="FILE_OR_MODULE[:PIPELINE]")
@click.option(
    "--parameter",
    "-p",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a parameter of the pipeline; the value is read as YAML. May be repeated.",
)
@click.option(
    "--config", "config", metavar="FILE", help="YAML file with settings that override those in the code."
)
@click.option("--no-cache", is_flag=True, help="Run every step; take no results from the cache.")
@click.option(
    "--explain-cache",
    is_flag=True,
    help="Explain for each step why its results were or weren't taken from the cache.",
)
@click.option("--detach", is_flag=True, help="Return as soon as the cluster accepts the run.")
@stack_option
def run(
    target: str,
    parameters: tuple[str, ...],
    config: str | None,
    no_cache: bool,
    explain_cache: bool,
    detach: bool,
    stack: str | None,
) -> None:
    """Run a pipeline from a file or module.

    FILE_OR_MODULE is a path such as train.py, or a module such as project.pipelines. If it has several pipelines,
    name one: train.py:training.

    \b
    Examples:
      rayform run train.py
      rayform run train.py:training -p epochs=3 -p 'layers=[64, 32]'
      rayform run project.pipelines:nightly --config nightly.yaml --stack cloud
    """
    from rayform.launching.run import RunOptions, run_pipeline
    from rayform.launching.target import find_pipeline

    pipeline = find_pipeline(target)
    options = RunOptions(
        parameters=parsed_parameters(parameters, pipeline),
        config_path=config,
        stack=stack,
        no_cache=no_cache,
        explain_cache=explain_cache,
        detach=detach,
    )
    run_pipeline(pipeline, options=options)


def parsed_parameters(texts: tuple[str, ...], pipeline: Pipeline[..., Any]) -> dict[str, object]:
    """Turn `name=value` texts into values: YAML, or plain text if the parameter is a string.

    Raises:
        UsageError: a text has no `=`, repeats a name, or isn't YAML.
    """
    import yaml

    from rayform.authoring.signatures import arguments_of
    from rayform_core.errors import UsageError

    arguments = arguments_of(pipeline.entrypoint, kind="Pipeline")
    values: dict[str, object] = {}
    for text in texts:
        name, equals, raw = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"'{text}' is not a valid parameter.", hint="Write -p name=value.")
        if name in values:
            raise UsageError(f"Parameter '{name}' is given twice.", hint="Write each parameter once.")
        try:
            values[name] = _parsed(raw, arguments.get(name))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            problem = getattr(error, "problem", None) or str(error)[:200]
            raise UsageError(
                f"The value of parameter '{name}' can't be read: {raw!r}.",
                why=f"It isn't valid YAML: {problem}.",
                hint="Write a number, a word, or a list such as [1, 2].",
            ) from None
    return values


def _parsed(raw: str, argument: Argument | None) -> object:
    """Return the value of a text: what YAML reads, or the text itself if that is what the argument takes."""
    from rayform.authoring.signatures import concrete_type
    from rayform.authoring.yaml_values import read_value

    if argument is None:
        return read_value(raw)
    if concrete_type(argument.annotation) is str:
        return raw
    value = read_value(raw)
    # For `str | None` and similar types, 2026 is text.
    return raw if not _fits(value, argument) and _fits(raw, argument) else value


def _fits(value: object, argument: Argument) -> bool:
    from rayform.authoring.parameters import validated
    from rayform_core.errors import UsageError

    try:
        validated(value, argument.annotation, what=argument.name, is_text=True)
    except UsageError:
        return False
    return True
