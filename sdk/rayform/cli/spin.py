"""`rayform spin`: runs one step of an earlier run again."""

from __future__ import annotations

import click

from rayform.cli.options import TRUST_HELP, stack_option

__all__ = ["spin"]


@click.command("spin")
@click.argument("run", metavar="RUN")
@click.argument("step", metavar="STEP")
@click.option("--debug", is_flag=True, help="Run the step in this process and open pdb where it raises.")
@click.option("--trust", is_flag=True, help=TRUST_HELP)
@stack_option
def spin(run: str, step: str, debug: bool, trust: bool, stack: str | None) -> None:
    """Run one step of an earlier run again, with the same inputs.

    RUN is a run's name, its ID, or a prefix of either; STEP is the step's key in the pipeline. The step runs today's
    code, in a new run; the earlier run doesn't change.

    \b
    Examples:
      rayform spin training-2026_11_20-22_43_01-a1b2c3 fit
      rayform spin 0193 'fit[2]'
      rayform spin 0193 evaluate --debug
    """
    from rayform.launching.spin import spin_step
    from rayform.reading.client import Client
    from rayform.stacks.open import open_stack

    opened = open_stack(stack)
    client = Client(stack=opened)
    spin_step(client.get_pipeline_run(run), step, opened, debug=debug, trust=trust)
