"""Commands of the cluster's machines, called by user data and by the laptop through SSH.

- `start`: make this machine the head.
- `worker start`: let this machine join as a worker.
- `watch`: run the daemon that `start` leaves behind (autostop, spot notice, Ray's health).
- `status`: print the head's status, as JSON on one line.
- `take-settings`: apply the settings that the last deploy changed to the running head; print the changes, as JSON on
  one line.
- `stop`: end the workers, then stop the head.
"""

from __future__ import annotations

import sys

from rayform_core.errors import RayformError

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        match arguments:
            case ["start"]:
                from rayform_runtime.cluster.machine.start import start_head

                start_head()
            case ["worker", "start"]:
                from rayform_runtime.cluster.machine.start import start_worker

                start_worker()
            case ["watch"]:
                from rayform_runtime.cluster.machine.watch import watch

                watch()
            case ["status"]:
                from rayform_runtime.cluster.machine.status import status_json

                sys.stdout.write(status_json() + "\n")
            case ["take-settings"]:
                from rayform_runtime.cluster.machine.autostop import observe
                from rayform_runtime.cluster.machine.new_settings import take_settings
                from rayform_runtime.cluster.machine.settings import MachineSettings
                from rayform_runtime.cluster.machine.start import TOKEN_PATH

                activity = observe(MachineSettings.read(), token=TOKEN_PATH.read_text().strip())
                changes = take_settings(busy=not activity.known or activity.jobs > 0)
                sys.stdout.write(changes.model_dump_json() + "\n")
            case ["stop"]:
                from rayform_runtime.cluster.machine.autostop import stop_cluster
                from rayform_runtime.cluster.machine.settings import MachineSettings

                stop_cluster(MachineSettings.read(), why="a user stopped it")
            case _:
                sys.stderr.write("usage: start | worker start | watch | status | take-settings | stop\n")
                return 2
    except RayformError as error:
        sys.stderr.write(f"rayform: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
