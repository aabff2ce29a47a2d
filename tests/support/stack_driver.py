"""Deploys or destroys a stack in a process of its own, for tests that kill it, and prints every event."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rayform_provisioner.definitions.definition import load_definition
from rayform_provisioner.lifecycle import Lifecycle
from rayform_provisioner.targets import resolve_target


class Printer:
    """Prints one line for each thing that happens."""

    def phase(self, text: str) -> None:
        print(f"phase {text}", flush=True)

    def note(self, text: str) -> None:
        print(f"note {text}", flush=True)

    def event(self, event) -> None:
        print(f"event {event.phase} {event.action} {event.address}", flush=True)


def main(operation: str, definition: str, target: str) -> None:
    """Run `operation` on the stack of `definition`."""
    loaded = load_definition(Path(definition))
    lifecycle = Lifecycle(loaded.definition.name, resolve_target(target), Printer())
    if operation == "deploy":
        print("result " + json.dumps(lifecycle.deploy(loaded, lambda summary: True)), flush=True)
    else:
        print("result " + json.dumps(lifecycle.destroy(lambda summary: True, delete_data=True)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
