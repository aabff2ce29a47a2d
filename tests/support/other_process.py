"""Loads stored values in a process of their own, which knows nothing but the store and the catalog's facts."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rayform_runtime.artifacts.stores.config import LocalStoreConfig
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.values import SavedValue, load_value

__all__ = ["loaded_elsewhere"]


def loaded_elsewhere(folder: Path, store: LocalArtifactStore, saved: Sequence[SavedValue]) -> list[Any]:
    """Return the values as a new process loads them, or the text of the error where it fails.

    Args:
        folder: a folder for what the two processes tell each other.
        store: the store that holds the values.
        saved: what saving them returned.
    """
    facts = [(s.uri, s.manifest.digest, s.manifest.type, s.manifest.materializer) for s in saved]
    request, answer = folder / "request.pickle", folder / "answer.pickle"
    request.write_bytes(pickle.dumps((store.uri.removeprefix("file://"), facts)))
    tests = Path(__file__).parents[1]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "support.other_process", str(request), str(answer)],
        check=True,
        cwd=tests,
        timeout=250,
    )
    parts: list[bytes] = pickle.loads(answer.read_bytes())
    return [pickle.loads(part) for part in parts]


def _main(request: Path, answer: Path) -> None:
    path, facts = pickle.loads(request.read_bytes())
    store = LocalArtifactStore(LocalStoreConfig(path=path), stack_name="test")
    parts: list[bytes] = []
    for uri, digest, kind, materializer in facts:
        try:
            loaded = load_value(store, uri, digest=digest, type=kind, materializer=materializer)
            parts.append(pickle.dumps(loaded))
        except Exception as error:
            parts.append(pickle.dumps(f"{type(error).__name__}: {error}"))
    answer.write_bytes(pickle.dumps(parts))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
