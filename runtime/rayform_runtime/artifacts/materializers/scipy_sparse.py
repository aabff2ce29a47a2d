"""SciPy's sparse matrices and arrays as `.npz`, which `scipy.sparse.load_npz` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path
from rayform_runtime.artifacts.materializers.archives import refuse_bombs
from rayform_runtime.artifacts.materializers.base import Materializer, NotProvedError
from rayform_runtime.artifacts.materializers.registry import unsupported

__all__ = ["SparseMaterializer"]

_DATA, _ABOUT = "matrix.npz", "matrix.json"
_FORMATS = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")


class SparseMaterializer(Materializer):
    """Stores matrices and arrays of every format; those of `dok` and `lil`, which have no file of SciPy's, as `coo`."""

    def save(self, value: Any, folder: Path) -> None:
        """Write the matrix.

        Raises:
            UsageError: it holds Python objects, or is of a class that isn't SciPy's.
        """
        import scipy.sparse

        module = type(value).__module__
        if not module.startswith("scipy.sparse.") or value.format not in _FORMATS:
            raise unsupported(type(value))
        if value.dtype.hasobject:
            raise UsageError(
                f"A sparse matrix of dtype '{value.dtype}' can't be stored.",
                why="Its elements are Python objects, which could only be pickled.",
                hint="Give it a plain dtype, for instance matrix.astype(float).",
            )
        plain = value.tocoo() if value.format in ("dok", "lil") else value
        # A column of one dimension is a `coo_array`, which is the only format of SciPy's file for it.
        plain = plain.tocoo() if value.ndim != 2 else plain
        scipy.sparse.save_npz(folder / _DATA, plain, compressed=False)
        about = {"format": value.format, "index": str(_index_dtype(value))}
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    def load(self, folder: Path, data_type: type) -> Any:
        """Read the matrix."""
        import numpy as np
        import scipy.sparse

        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        refuse_bombs(folder / _DATA)
        value = scipy.sparse.load_npz(folder / _DATA)
        if value.format != about["format"]:
            value = value.asformat(about["format"])
        for name in ("indices", "indptr", "offsets"):
            if about["index"] != "None" and isinstance(getattr(value, name, None), np.ndarray):
                setattr(value, name, getattr(value, name).astype(about["index"], copy=False))
        return value

    def prove(self, value: Any, folder: Path) -> None:
        """Read the file again and compare what the matrix holds.

        Raises:
            NotProvedError: it isn't the same.
        """
        loaded = self.load(folder, type(value))
        facts = [
            (type(each).__name__, each.format, str(each.dtype), each.shape, each.nnz, str(_index_dtype(each)))
            for each in (value, loaded)
        ]
        if facts[0] != facts[1]:
            raise NotProvedError.of(
                value,
                f"It is {facts[0]}, and it would be loaded as {facts[1]}.",
                "Convert it first, for instance matrix.tocsr().",
            )

    def extract_metadata(self, value: Any) -> dict[str, object]:
        """Return class, dtype, shape and the number of stored values."""
        return {
            "class": import_path(type(value)).partition(":")[2],
            "dtype": str(value.dtype),
            "shape": list(value.shape),
            "stored": int(value.nnz),
        }

    def summary(self, value: Any) -> str:
        """Return class, dtype, shape and the number of stored values."""
        return f"{type(value).__name__} {value.dtype} {tuple(value.shape)} with {value.nnz:,} values"


def _index_dtype(value: Any) -> object:
    for name in ("indices", "offsets"):
        if hasattr(value, name):
            return getattr(value, name).dtype
    return None
