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
    if what == "trace":
        values = eval(arguments, {"load": importlib.import_module})
        function.entrypoint(*values)
        sys.settrace(None)
        loaded = sorted(
            os.path.relpath(m.__file__, folder)
            for m in list(sys.modules.values())
            if (getattr(m, "__file__", None) or "").startswith(folder)
        )
        print(json.dumps({"lines": {f: sorted(n) for f, n in lines.items()}, "loaded": loaded}))
        return
    from pathlib import Path

    from rayform_runtime.usercode.digest import step_code
    from rayform_runtime.usercode.module_index import index_module

    static = step_code(function.entrypoint).files
    others = [path for path in (os.path.join(folder, file) for file in recorded) if path not in static]
    for _ in sys.stdin:
        digest = step_code(function.entrypoint).digest
        print(digest, *(index_module(Path(path)).whole for path in others), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
