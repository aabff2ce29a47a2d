"""`rayform terraform`: installs and configures Terraform, which deploys stacks."""

from __future__ import annotations

import click

from rayform.cli.output import echo

__all__ = ["terraform"]


@click.group()
def terraform() -> None:
    """Install and configure Terraform, which deploys stacks."""


@terraform.command()
@click.option(
    "--version",
    "release",
    default=None,
    metavar="RELEASE",
    help="Install this release; by default the tested one.",
)
@click.option(
    "--from",
    "source",
    default=None,
    metavar="URL",
    help="Download from here; same layout as the release site.",
)
@click.option("--sha256", default=None, metavar="HEX", help="Checksum that the archive must have.")
def install(release: str | None, source: str | None, sha256: str | None) -> None:
    """Download a pinned release of Terraform; verify its signature and checksum."""
    from rayform_provisioner.terraform.install import PINNED, RELEASES
    from rayform_provisioner.terraform.install import install as fetch

    path = fetch(release or PINNED, source or RELEASES, sha256)
    echo(f"Terraform {release or PINNED} is at {path}.")


@terraform.command()
def version() -> None:
    """Show which Terraform is used, and where it gets its providers."""
    from rayform_provisioner.terraform.settings import TerraformSettings

    settings = TerraformSettings()
    program = settings.version
    echo(f"{program.product} {program.version} at {program.path}")
    echo(f"Providers: {settings.mirror or 'the public registry'}")


@terraform.command()
@click.option(
    "--binary", default=None, metavar="PATH", help="Terraform or OpenTofu binary; empty for the default."
)
@click.option("--mirror", default=None, metavar="PATH|URL", help="Mirror of providers; empty for none.")
@click.option(
    "--plugin-cache",
    default=None,
    metavar="PATH",
    help="Folder for downloaded providers; empty for the default.",
)
def configure(binary: str | None, mirror: str | None, plugin_cache: str | None) -> None:
    """Set the binary, the provider mirror and the plugin cache."""
    from rayform_provisioner.terraform.settings import TerraformSettings

    stored = TerraformSettings.store(binary=binary, mirror=mirror, plugin_cache=plugin_cache)
    for key, value in sorted(stored.items()):
        echo(f"{key}: {value}")
    if not stored:
        echo("Nothing is set.")
