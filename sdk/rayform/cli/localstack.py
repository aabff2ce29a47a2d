"""`rayform localstack`: a whole cloud on this machine."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from rayform.cli.output import as_json, json_option
from rayform_core.errors import NotFoundError

__all__ = ["localstack"]


@click.group()
def localstack() -> None:
    """Run an emulated cloud whose instances really boot."""


def _say(text: str) -> None:
    click.echo(f"  {text}", err=True)


@localstack.command()
@click.option(
    "--engine",
    type=click.Choice(["moto", "localstack"]),
    default="moto",
    show_default=True,
    help="What answers the API: moto, or LocalStack with moto for what it lacks.",
)
@click.option("--region", default="us-east-1", show_default=True, help="Region of the cloud's own services.")
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="Port of the API, if it is free.")
@click.option("--no-iam", is_flag=True, help="Let every known caller do everything.")
@click.option(
    "--notice",
    "notice_seconds",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between the notice of a spot interruption and the end.",
)
@click.option(
    "--layers",
    "layers_gib",
    type=click.FloatRange(0),
    default=6.0,
    show_default=True,
    metavar="GIB",
    help="Disk for pushed image layers, kept for the next cloud's pushes; 0 keeps none.",
)
def up(
    engine: str, region: str, port: int | None, no_iam: bool, notice_seconds: float, layers_gib: float
) -> None:
    """Start the emulated cloud, or take up again what runs of it."""
    from rayform_localstack import cloud

    began = time.monotonic()
    state = cloud.up(
        engine,
        region=region,
        enforce_iam=not no_iam,
        notice_seconds=notice_seconds,
        port=port,
        layers_limit=int(layers_gib * 2**30),
        report=_say,
    )
    click.echo(f"The emulated cloud is up ({time.monotonic() - began:.1f} s).")
    click.echo(f"  API       {state.endpoint}   (keys: `rayform localstack env`)")
    click.echo(f"  registry  {state.registry}")


@localstack.command()
def env() -> None:
    """Print shell lines that point AWS tools at the emulated cloud: eval "$(rayform localstack env)"."""
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
        click.echo(f"export {name}={shlex.quote(value)}")


@localstack.command()
@json_option
def status(json_wanted: bool) -> None:
    """Show what runs: the API, instances, databases, and how they are scaled down."""
    from rayform_localstack import inspection

    found = inspection.status()
    if json_wanted:
        as_json(found)
        return
    if not found.get("cloud"):
        click.echo("No emulated cloud runs here. Start one: rayform localstack up.")
        return
    health = "answers" if found["running"] else "does NOT answer"
    click.echo(f"Emulated cloud {found['cloud']} ({found['engine']}, {found['region']}): the API {health}.")
    click.echo(f"  API       {found['endpoint']}")
    click.echo(f"  registry  {found['registry']}")
    for name, process in found["processes"].items():
        state = "runs" if process["alive"] else "is DEAD; `rayform localstack up` starts it again"
        click.echo(f"  {name:<9} process {process['pid']} {state}")
    for item in found["instances"]:
        _show_instance(item)
    for item in found["databases"]:
        fault = f"  {item['fault']}" if item["fault"] else ""
        click.echo(f"  database {item['id']}  {item['status']}  {item['private_ip']}:{item['port']}{fault}")


def _show_instance(item: dict[str, Any]) -> None:
    gib = 2**30
    name = f" ({item['name']})" if item["name"] else ""
    click.echo(f"  {item['id']}{name}  {item['state']}  {item['type']}  {item['private_ip']}  {item['ssh']}")
    scaled = (
        f"    {item['cpus']} CPUs, {item['memory_bytes'] / gib:.0f} GiB, {item['gpus']} GPUs by its type; here at "
        f"most {item['cpu_limit']} CPUs and {item['memory_limit_bytes'] / gib:.1f} GiB"
    )
    click.echo(scaled + (", GPUs are logical" if item["gpus"] else ""))
    boot = item["boot"] or {}
    if boot.get("phase") == "done" and boot.get("code") not in {0, None}:
        click.echo(f"    user data FAILED with {boot['code']}: rayform localstack logs {item['id']}")
    elif boot:
        click.echo(f"    user data: {'finished' if boot['phase'] == 'done' else 'running'}")
    if item["interruption"]:
        click.echo(f"    to be {item['interruption']['action']}d at {item['interruption']['time']}")


@localstack.command()
@click.argument("what", default="supervisor", metavar="[api|supervisor|registry|INSTANCE|DATABASE]")
@click.option("-n", "--lines", type=click.IntRange(1), default=200, show_default=True, help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until Ctrl-C.")
def logs(what: str, lines: int, follow: bool) -> None:
    """Show a log; an instance's is its console and the output of its user data."""
    from rayform_localstack import inspection

    shown = inspection.log_of(what, lines)
    click.echo(shown, nl=not shown.endswith("\n"))
    while follow:
        time.sleep(1)
        text = inspection.log_of(what, lines)
        if text != shown:
            # Only what is new: the longest end of the old text that the new one begins after.
            last = shown.splitlines()[-1] if shown.splitlines() else ""
            tail = text.rpartition(last)[2] if last and last in text else text
            click.echo(tail.strip("\n"))
            shown = text


@localstack.command()
@click.option("--layers", is_flag=True, help="Remove the image layers too that are kept for the next cloud.")
def down(layers: bool) -> None:
    """End the emulated cloud: its processes, containers, networks and volumes."""
    from rayform_localstack import cloud

    began = time.monotonic()
    removed = cloud.down(_say, layers=layers)
    if removed:
        click.echo(f"The emulated cloud is gone ({time.monotonic() - began:.1f} s).")
    else:
        click.echo("No emulated cloud ran here.")


@localstack.command()
def reset() -> None:
    """Start over with an empty cloud of the same settings."""
    from rayform_localstack import cloud

    state = cloud.reset(_say)
    click.echo(f"An empty emulated cloud is up at {state.endpoint}.")


@localstack.command()
@click.argument("instance")
@click.option(
    "--notice",
    "notice_seconds",
    type=click.FloatRange(0),
    default=None,
    metavar="SECONDS",
    help="Notice time.",
)
def interrupt(instance: str, notice_seconds: float | None) -> None:
    """Order a spot interruption of INSTANCE: the notice now, the end when its time is up."""
    from rayform_localstack import faults

    click.echo(json.dumps(faults.interrupt(instance, notice_seconds)))


@localstack.command()
@click.argument("instance")
@click.option("--restore", is_flag=True, help="Mend the network instead.")
def cut(instance: str, restore: bool) -> None:
    """Cut INSTANCE from the network: its packets are lost both ways."""
    from rayform_localstack import faults

    faults.cut(instance, restore=restore)
    click.echo(f"{instance} is {'connected again' if restore else 'cut from the network'}.")


@localstack.command()
@click.argument("instance")
def kill(instance: str) -> None:
    """Let the hardware of INSTANCE fail, unwarned."""
    from rayform_localstack import faults

    faults.kill(instance)
    click.echo(f"{instance} is killed.")


@localstack.command()
def build() -> None:
    """Build the images of the emulated cloud, which `up` would do on first use."""
    from rayform_localstack import images

    for name, tag in images.ensure(_say).items():
        click.echo(f"{name:<9} {tag}")
