"""Which Terraform Rayform uses, and where that gets its providers.

Each setting is an environment variable, or a line in `$RAYFORM_HOME/terraform/settings.json`
(`rayform terraform configure` writes it); the variable wins.

| setting | variable | meaning |
| --- | --- | --- |
| `binary` | `RAYFORM_TERRAFORM` | path of Terraform or OpenTofu |
| `mirror` | `RAYFORM_TERRAFORM_MIRROR` | a folder of providers, or the URL of a network mirror |
| `plugin_cache` | `RAYFORM_TERRAFORM_PLUGIN_CACHE` | folder for downloaded providers |
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rayform_core.errors import PrerequisiteError, UsageError
from rayform_core.files import home, private_folder, write_atomically

__all__ = ["MINIMUM", "TerraformSettings", "TerraformVersion"]

MINIMUM = (1, 11, 0)
"""The first release, of Terraform and of OpenTofu, with write-only arguments and the S3 backend's own lock."""

VARIABLES = {
    "binary": "RAYFORM_TERRAFORM",
    "mirror": "RAYFORM_TERRAFORM_MIRROR",
    "plugin_cache": "RAYFORM_TERRAFORM_PLUGIN_CACHE",
}


@dataclass(frozen=True, slots=True)
class TerraformVersion:
    """A Terraform or OpenTofu on this machine."""

    product: str
    version: str
    path: Path


class TerraformSettings:
    """The settings that apply now.

    Args:
        binary, mirror, plugin_cache: as in the table above; by default read from the variables and the file.
    """

    def __init__(
        self, binary: str | None = None, mirror: str | None = None, plugin_cache: str | None = None
    ) -> None:
        stored = self._stored()
        arguments = {"binary": binary, "mirror": mirror, "plugin_cache": plugin_cache}
        chosen = {
            key: arguments[key] or os.environ.get(VARIABLES[key]) or stored.get(key) for key in VARIABLES
        }
        self._binary = chosen["binary"]
        self.mirror = chosen["mirror"]
        self.plugin_cache = chosen["plugin_cache"]

    @staticmethod
    def folder() -> Path:
        """Return the folder of settings, installed releases and cached providers."""
        return home() / "terraform"

    @classmethod
    def _stored(cls) -> dict[str, str]:
        path = cls.folder() / "settings.json"
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} can't be read.", why=f"{error}.", hint="Correct or delete it."
            ) from error
        return {key: str(value) for key, value in data.items() if key in VARIABLES and value}

    @classmethod
    def store(cls, **changes: str | None) -> dict[str, str]:
        """Change settings in the file, and return all that it then holds; an empty text removes a setting."""
        stored = cls._stored()
        for key, value in changes.items():
            if value == "":
                stored.pop(key, None)
            elif value is not None:
                stored[key] = value
        write_atomically(cls.folder() / "settings.json", stored)
        return stored

    def binary(self) -> Path:
        """Return the path of the Terraform in use.

        Raises:
            PrerequisiteError: there is none, or it is too old.
        """
        return self.version.path

    @cached_property
    def version(self) -> TerraformVersion:
        """The Terraform in use: the setting's, else the one of `rayform terraform install`, else PATH's."""
        if self._binary:
            path = shutil.which(self._binary) or ""
            if not path:
                raise PrerequisiteError(
                    f"There is no Terraform at '{self._binary}'.",
                    hint="Correct RAYFORM_TERRAFORM or the setting.",
                )
            return _version_of(Path(path))
        installed = self.folder() / "bin" / "terraform"
        candidates = [
            str(installed) if installed.exists() else None,
            shutil.which("terraform"),
            shutil.which("tofu"),
        ]
        too_old: PrerequisiteError | None = None
        for candidate in candidates:
            if candidate:
                try:
                    return _version_of(Path(candidate))
                except PrerequisiteError as error:
                    too_old = too_old or error
        if too_old is not None:
            raise too_old
        raise PrerequisiteError(
            "Neither Terraform nor OpenTofu is on PATH.",
            hint="Run `rayform terraform install` to fetch one, or name yours in RAYFORM_TERRAFORM.",
        )

    def environment(self, base: dict[str, str]) -> dict[str, str]:
        """Return `base` as Terraform should see it: with our mirror and cache, no prompts, no version checks."""
        environment = {key: value for key, value in base.items() if not key.startswith("TF_CLI_ARGS")}
        environment |= {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_INPUT": "0"}
        # Terraform and its provider are Go programs that live for one command. Collecting garbage a quarter as often
        # saves a third of the CPU time that each command spends on the provider's schema.
        environment.setdefault("GOGC", "400")
        environment.pop("TF_WORKSPACE", None)
        environment.pop("TF_DATA_DIR", None)
        if self.mirror:
            environment["TF_CLI_CONFIG_FILE"] = str(self._cli_config(self.mirror))
        elif not Path(environment.get("TF_CLI_CONFIG_FILE", "/")).exists():
            del environment[
                "TF_CLI_CONFIG_FILE"
            ]  # Terraform would warn about the missing file at every command
        if self.plugin_cache or (not self.mirror and "TF_PLUGIN_CACHE_DIR" not in environment):
            cache = Path(self.plugin_cache) if self.plugin_cache else self.folder() / "plugins"
            environment["TF_PLUGIN_CACHE_DIR"] = str(private_folder(cache))
        return environment

    def fingerprint(self) -> str:
        """Return a text that changes when a prepared folder must be prepared again."""
        return f"{self.version.product} {self.version.version} {self.mirror or ''}"

    def _cli_config(self, mirror: str) -> Path:
        if re.match(r"https?://", mirror):
            source = f"network_mirror {{\n    url = {json.dumps(mirror.rstrip('/') + '/')}\n  }}"
        else:
            folder = Path(mirror).expanduser().absolute()
            if not folder.is_dir():
                raise PrerequisiteError(
                    f"The provider mirror '{mirror}' is not a folder.",
                    hint="Correct RAYFORM_TERRAFORM_MIRROR.",
                )
            source = f"filesystem_mirror {{\n    path = {json.dumps(str(folder))}\n  }}"
        path = self.folder() / "terraform.rc"
        text = f"# Written by Rayform from its setting `mirror`.\nprovider_installation {{\n  {source}\n}}\n"
        if not path.exists() or path.read_text() != text:
            write_atomically(path, text)
        return path


def _version_of(path: Path) -> TerraformVersion:
    try:
        done = subprocess.run(
            [str(path), "version", "-json"],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "CHECKPOINT_DISABLE": "1"},
            check=False,
        )
        text = json.loads(done.stdout[done.stdout.index("{") :])["terraform_version"]
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise PrerequisiteError(
            f"'{path}' is neither Terraform nor OpenTofu.",
            why=f"`version -json` printed no version ({error}).",
        ) from error
    numbers = tuple(int(part) for part in re.findall(r"\d+", text)[:3])
    product = "OpenTofu" if "tofu" in path.name.lower() or "OpenTofu" in done.stdout else "Terraform"
    if numbers < MINIMUM:
        minimum = ".".join(map(str, MINIMUM))
        raise PrerequisiteError(
            f"{product} {text} at '{path}' is too old.",
            why=f"Rayform needs {minimum} or newer: earlier releases would write secrets into the state.",
            hint="Run `rayform terraform install` to fetch one.",
        )
    return TerraformVersion(product, text, path)
