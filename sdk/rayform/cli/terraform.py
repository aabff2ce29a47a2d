"""`rayform terraform`: the Terraform that deploys stacks."""

from __future__ import annotations

import click

__all__ = ["terraform"]


@click.group()
def terraform() -> None:
    """Install and configure the Terraform that deploys stacks."""


@terraform.command()
@click.option(
    "--version", "release", default=None, metavar="RELEASE", help="Another release than the tested one."
)
@click.option(
    "--from", "source", default=None, metavar="URL", help="Fetch from here; the release site's layout."
)
@click.option("--sha256", default=None, metavar="HEX", help="The checksum that the archive must have.")
def install(release: str | None, source: str | None, sha256: str | None) -> None:
    """Fetch a pinned release and verify its checksum."""
    from rayform_provisioner.terraform.install import PINNED, RELEASES
    from rayform_provisioner.terraform.install import install as fetch

    path = fetch(release or PINNED, source or RELEASES, sha256)
    click.echo(f"Terraform {release or PINNED} is at {path}.")


@terraform.command()
def version() -> None:
    """Show which Terraform is used, and from where it takes providers."""
    from rayform_provisioner.terraform.settings import TerraformSettings

    settings = TerraformSettings()
    program = settings.version
    click.echo(f"{program.product} {program.version} at {program.path}")
    click.echo(f"Providers: {settings.mirror or 'the public registry'}")


@terraform.command()
@click.option(
    "--binary", default=None, metavar="PATH", help="Terraform or OpenTofu to use; empty for the default."
)
@click.option(
    "--mirror", default=None, metavar="PATH|URL", help="Mirror to take providers from; empty for none."
)
@click.option(
    "--plugin-cache", default=None, metavar="PATH", help="Folder that keeps providers; empty for the default."
)
def configure(binary: str | None, mirror: str | None, plugin_cache: str | None) -> None:
    """Set the binary, the provider mirror and the plugin cache."""
    from rayform_provisioner.terraform.settings import TerraformSettings

    stored = TerraformSettings.store(binary=binary, mirror=mirror, plugin_cache=plugin_cache)
    for key, value in sorted(stored.items()):
        click.echo(f"{key}: {value}")
    if not stored:
        click.echo("Nothing is set.")
