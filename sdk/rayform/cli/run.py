"""`rayform run`: run a pipeline of a file or module."""

from __future__ import annotations

from typing import Any

import click

from rayform.cli.options import stack_option

__all__ = ["run"]


@click.command("run")
@click.argument("target", metavar="FILE_OR_MODULE[:PIPELINE]")
@click.option(
    "--parameter",
    "-p",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a parameter of the pipeline; the value is read as YAML. May be given several times.",
)
@click.option("--config", "config", metavar="FILE", help="YAML configuration that overrides code.")
@click.option("--no-cache", is_flag=True, help="Run every step, whatever earlier runs left.")
@click.option(
    "--explain-cache", is_flag=True, help="Say for each step why it was, or wasn't, taken from the cache."
)
@click.option("--detach", is_flag=True, help="Return once a cluster accepted the run.")
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
    """Run a pipeline of a file or module.

    FILE_OR_MODULE is a path such as train.py, or a module such as project.pipelines. Where it has several
    pipelines, name one: train.py:training.

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


def parsed_parameters(given: tuple[str, ...], pipeline: Any) -> dict[str, Any]:
    """Turn `name=value` texts into values: YAML, but plain text for a parameter that is a string.

    Raises:
        UsageError: one has no `=`, is given twice, or isn't YAML.
    """
    import yaml

    from rayform.authoring.signatures import arguments_of, concrete_type
    from rayform_core.errors import UsageError

    arguments = arguments_of(pipeline.entrypoint, kind="Pipeline")
    values: dict[str, Any] = {}
    for text in given:
        name, equals, raw = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"'{text}' is no parameter.", hint="Write -p name=value.")
        if name in values:
            raise UsageError(f"Parameter '{name}' is given twice.")
        argument = arguments.get(name)
        if argument is not None and concrete_type(argument.annotation) is str:
            values[name] = raw
            continue
        try:
            values[name] = yaml.safe_load(raw)
            if argument is not None and not _fits(values[name], argument) and _fits(raw, argument):
                values[name] = raw  # `str | None` and the like: 2026 is text there
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            problem = getattr(error, "problem", None) or str(error)[:200]
            raise UsageError(
                f"The value of parameter '{name}' can't be read: {raw!r}.",
                why=f"It isn't valid YAML: {problem}.",
                hint="Write a number, a word, or a list such as [1, 2].",
            ) from None
    return values


def _fits(value: Any, argument: Any) -> bool:
    from rayform.authoring.parameters import validated
    from rayform_core.errors import UsageError

    try:
        validated(value, argument.annotation, what=argument.name)
    except UsageError:
        return False
    return True
