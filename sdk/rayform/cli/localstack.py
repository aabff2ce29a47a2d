"""`rayform localstack`: an emulated cloud on this machine."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from rayform.cli.options import Numbers
from rayform.cli.output import echo, json_option, print_json
from rayform_core.errors import NotFoundError

__all__ = ["localstack"]


@click.group()
def localstack() -> None:
    """Run an emulated cloud on this machine, with instances that really boot."""


def _report(text: str) -> None:
    echo(f"  {text}", err=True)


@localstack.command()
@click.option(
    "--engine",
    type=click.Choice(["moto", "localstack"]),
    default="moto",
    show_default=True,
    help="API server: moto, or LocalStack with moto for the services that LocalStack lacks.",
)
@click.option("--region", default="us-east-1", show_default=True, help="Region of the emulated cloud.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=None, help="Port of the API, if that port is free."
)
@click.option("--no-iam", is_flag=True, help="Don't check permissions: every known caller may do everything.")
@click.option(
    "--notice",
    "notice_seconds",
    type=Numbers(0, 1e6),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between the notice of a spot interruption and the end of the instance.",
)
@click.option(
    "--layers",
    "layers_gib",
    type=Numbers(0, 1e6),
    default=6.0,
    show_default=True,
    metavar="GIB",
    help="Disk space for pushed image layers, which later pushes reuse; 0 keeps none.",
)
def up(
    engine: str, region: str, port: int | None, no_iam: bool, notice_seconds: float, layers_gib: float
) -> None:
    """Start the emulated cloud, or the parts of it that don't run."""
    from rayform_localstack import cloud

    start = time.monotonic()
    state = cloud.up(
        engine,
        region=region,
        enforce_iam=not no_iam,
        notice_seconds=notice_seconds,
        port=port,
        layers_limit=int(layers_gib * 2**30),
        report=_report,
    )
    echo(f"The emulated cloud is up ({time.monotonic() - start:.1f} s).")
    echo(f"  API       {state.endpoint}   (keys: `rayform localstack env`)")
    echo(f"  registry  {state.registry}")


@localstack.command()
def env() -> None:
    """Print shell variables that point AWS tools at the emulated cloud.

    Set them in your shell: eval "$(rayform localstack env)"
    """
    import shlex

    from rayform_localstack.state import CloudState

    state = CloudState.load()
    if state is None:
        raise NotFoundError("emulated cloud", "of this home", hint="Start one: rayform localstack up.")
    values = {
        "AWS_ENDPOINT_URL": state.endpoint,
        "AWS_ACCESS_KEY_ID": state.access_key,
        "AWS_SECRET_ACCESS_KEY": state.secret_key,
        "AWS_DEFAULT_REGION": state.region,
    }
    for name, value in values.items():
        echo(f"export {name}={shlex.quote(value)}")


@localstack.command()
@json_option
def status(json_wanted: bool) -> None:
    """Show the API, instances and databases, and how far they are scaled down."""
    from rayform_localstack import inspection

    facts = inspection.status()
    if json_wanted:
        print_json(facts)
        return
    if not facts.get("cloud"):
        echo("There is no emulated cloud. Start one: rayform localstack up.")
        return
    health = "answers" if facts["running"] else "DOESN'T answer"
    echo(f"Emulated cloud {facts['cloud']} ({facts['engine']}, {facts['region']}): the API {health}.")
    echo(f"  API       {facts['endpoint']}")
    echo(f"  registry  {facts['registry']}")
    for name, process in facts["processes"].items():
        state = "runs" if process["alive"] else "is DEAD; start it again: rayform localstack up"
        echo(f"  {name:<9} process {process['pid']} {state}")
    for item in facts["instances"]:
        _show_instance(item)
    for item in facts["databases"]:
        fault = f"  {item['fault']}" if item["fault"] else ""
        echo(f"  database {item['id']}  {item['status']}  {item['private_ip']}:{item['port']}{fault}")


def _show_instance(item: dict[str, Any]) -> None:
    gib = 2**30
    name = f" ({item['name']})" if item["name"] else ""
    echo(f"  {item['id']}{name}  {item['state']}  {item['type']}  {item['private_ip']}  {item['ssh']}")
    scaled = (
        f"    its type has {item['cpus']} CPUs, {item['memory_bytes'] / gib:.0f} GiB, {item['gpus']} GPUs; here it "
        f"gets at most {item['cpu_limit']} CPUs and {item['memory_limit_bytes'] / gib:.1f} GiB"
    )
    echo(scaled + (", and GPUs are only simulated" if item["gpus"] else ""))
    boot = item["boot"] or {}
    if boot.get("phase") == "done" and boot.get("code") not in {0, None}:
        echo(f"    user data FAILED with exit code {boot['code']}: rayform localstack logs {item['id']}")
    elif boot:
        echo(f"    user data: {'finished' if boot['phase'] == 'done' else 'running'}")
    if item["interruption"]:
        echo(f"    spot interruption: {item['interruption']['action']} at {item['interruption']['time']}")


@localstack.command()
@click.argument("what", default="supervisor", metavar="[api|supervisor|registry|INSTANCE|DATABASE]")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="How many of the last lines.",
)
@click.option("-f", "--follow", is_flag=True, help="Continue printing until Ctrl-C.")
def logs(what: str, lines: int, follow: bool) -> None:
    """Print a log; the log of an instance is its console and the output of its user data."""
    from rayform_localstack import inspection

    log = inspection.log_of(what, lines)
    echo(log, nl=not log.endswith("\n"))
    while follow:
        time.sleep(1)
        text = inspection.log_of(what, lines)
        if text != log:
            # Print only new lines: those after the last line that was already printed.
            last = log.splitlines()[-1] if log.splitlines() else ""
            tail = text.rpartition(last)[2] if last and last in text else text
            echo(tail.strip("\n"))
            log = text


@localstack.command()
@click.option("--layers", is_flag=True, help="Also remove the image layers that are kept for later pushes.")
def down(layers: bool) -> None:
    """Remove the emulated cloud: its processes, containers, networks and volumes."""
    from rayform_localstack import cloud

    start = time.monotonic()
    removed = cloud.down(_report, layers=layers)
    if removed:
        echo(f"Removed the emulated cloud ({time.monotonic() - start:.1f} s).")
    else:
        echo("There was no emulated cloud.")


@localstack.command()
def reset() -> None:
    """Replace the emulated cloud by an empty one with the same settings."""
    from rayform_localstack import cloud

    state = cloud.reset(_report)
    echo(f"An empty emulated cloud is up at {state.endpoint}.")


@localstack.command()
@click.argument("instance")
@click.option(
    "--notice",
    "notice_seconds",
    type=Numbers(0, 1e6),
    default=None,
    metavar="SECONDS",
    help="Time between the notice and the end; by default that of the cloud.",
)
def interrupt(instance: str, notice_seconds: float | None) -> None:
    """Interrupt the spot instance INSTANCE.

    It gets the notice now, and ends when the notice time is over.
    """
    from rayform_localstack import faults

    echo(json.dumps(faults.interrupt(instance, notice_seconds)))


@localstack.command()
@click.argument("instance")
@click.option("--restore", is_flag=True, help="Restore the network instead.")
def cut(instance: str, restore: bool) -> None:
    """Cut INSTANCE off from the network: its packets are lost in both directions."""
    from rayform_localstack import faults

    faults.cut(instance, restore=restore)
    echo(f"{instance} is {'connected again' if restore else 'cut off from the network'}.")


@localstack.command()
@click.argument("instance")
def kill(instance: str) -> None:
    """Let the hardware of INSTANCE fail without a warning."""
    from rayform_localstack import faults

    faults.kill(instance)
    echo(f"Killed {instance}.")


@localstack.command()
def build() -> None:
    """Build the images of the emulated cloud; otherwise `up` builds them on first use."""
    from rayform_localstack import images

    for name, tag in images.ensure(_report).items():
        echo(f"{name:<9} {tag}")
