"""Runs a step of a small project and says which of its lines ran, or says the step's digest after each change.

usage: cache_trace.py FOLDER MODULE:NAME ARGUMENTS trace
       cache_trace.py FOLDER MODULE:NAME ARGUMENTS digest [LOADED FILE ...]
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import types


def main(folder: str, step: str, arguments: str, what: str, *recorded: str) -> None:
    import rayform.authoring.steps  # noqa: F401 - its own imports are no lines of the project

    sys.dont_write_bytecode = True
    sys.path[0] = folder
    if os.path.isdir(os.path.join(folder, "src")):
        sys.path[0] = os.path.join(folder, "src")
    lines: dict[str, set[int]] = {}

    def trace(frame: types.FrameType, event: str, argument: object) -> object:
        file = frame.f_code.co_filename
        if not file.startswith(folder):
            return None
        if event == "line":
            lines.setdefault(os.path.relpath(file, folder), set()).add(frame.f_lineno)
        return trace

    for name in ("statistics", "calendar"):
        sys.modules.pop(name, None)
    if what == "trace":
        sys.settrace(trace)
    module, _, name = step.partition(":")
    function = getattr(importlib.import_module(module), name)
    from pathlib import Path

    from rayform_runtime.artifacts.import_paths import import_path, resolve
    from rayform_runtime.usercode.digest import code_of_files, step_code
    from rayform_runtime.usercode.loaded_modules import note_loaded_code, places_of

    if what == "trace":
        values = eval(arguments, {"load": importlib.import_module})
        with note_loaded_code() as names:
            for value in values:
                resolve(import_path(type(value)))  # as a worker finds the types of stored values
            function.entrypoint(*values)
        sys.settrace(None)
        executed = {file: sorted(numbers) for file, numbers in lines.items()}
        print(json.dumps({"lines": executed, "loaded": places_of(names, folder)}))
        return
    for _ in sys.stdin:
        digests = step_code(function.entrypoint).digest, code_of_files(recorded, Path(folder)).digest
        print(*digests, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
