"""NumPy arrays and scalars as `.npy` files, loaded by mapping them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.materializers.array_codec import holds_objects
from rayform_runtime.artifacts.materializers.base import Materializer, NotProvedError, short
from rayform_runtime.artifacts.materializers.json_values import JsonMaterializer
from rayform_runtime.artifacts.materializers.numbers import histogram_html, statistics
from rayform_runtime.artifacts.materializers.registry import unsupported

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NumpyMaterializer"]

_ARRAY, _MASK, _FILL, _HARD = "array.npy", "mask.npy", "fill.npy", "hard_mask"
_MAPPED = 1 << 20
"""Bytes; reading a smaller file is cheaper than the page faults of a mapping."""


class NumpyMaterializer(Materializer):
    """Stores arrays, masked arrays, record arrays, matrices, and scalars.

    An array of Python objects, or of text of any length, is stored as JSON, element by element.

    Large arrays are mapped copy-on-write when loaded: nothing is copied before it is read, and what the user writes
    into the array stays in memory.
    """

    def __init__(self) -> None:
        self._elements: JsonMaterializer | None = None
        """Wrote the array of Python objects that is being saved."""

    def save(self, value: np.ndarray | np.generic, folder: Path) -> None:
        """Write the array.

        Raises:
            UsageError: the array's fields hold Python objects, or its class is a subclass that would not come back.
        """
        import numpy as np

        if holds_objects(value):
            self._elements = JsonMaterializer()
            self._elements.save(value, folder)
            return
        kind = type(value)
        if isinstance(value, np.ndarray):
            stored_kinds = (np.ndarray, np.memmap, np.matrix, np.recarray, np.ma.MaskedArray)
            if kind not in stored_kinds:
                raise unsupported(kind)
        data = np.ma.getdata(value) if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
        if data.dtype.hasobject or data.dtype.kind == "T":
            raise UsageError(
                f"A NumPy array of dtype '{data.dtype}' can't be stored.",
                why="Its elements are Python objects, which could only be pickled.",
                hint="Give it a plain dtype, for instance array.astype(float) or array.astype(str), or return a list.",
            )
        with warnings.catch_warnings():
            # NumPy before 1.17 can't read names of fields beyond ASCII, nor does Rayform run with it.
            warnings.filterwarnings("ignore", "Stored array in format", UserWarning)
            np.save(folder / _ARRAY, data, allow_pickle=False)
        if isinstance(value, np.ma.MaskedArray):
            if np.ma.getmask(value) is not np.ma.nomask:
                np.save(folder / _MASK, np.ma.getmaskarray(value), allow_pickle=False)
            np.save(folder / _FILL, np.asarray(value.fill_value), allow_pickle=False)
            if value.hardmask:
                (folder / _HARD).touch()

    def prove(self, value: np.ndarray | np.generic, folder: Path) -> None:
        """Load a small array and compare; of a large one, check the header and the size of the file.

        Raises:
            NotProvedError: what was written isn't the value.
        """
        import numpy as np

        if self._elements is not None:
            self._elements.prove(value, folder)
            return
        path = folder / _ARRAY
        problem = ""
        if path.stat().st_size < _MAPPED:
            loaded = self.load(folder, type(value))
            before, after = np.asarray(value), np.asarray(loaded)
            if (before.dtype, before.shape) != (after.dtype, after.shape):
                problem = f"It would have dtype '{after.dtype}' and shape {after.shape}."
            elif before.tobytes() != after.tobytes():
                problem = "Its data would be other bytes."
            elif type(loaded) is not type(value) and not isinstance(value, np.memmap):
                problem = f"It would be loaded as a '{type(loaded).__name__}'."
        else:
            header = np.load(path, mmap_mode="r", allow_pickle=False)
            same = header.dtype == value.dtype and header.shape == value.shape
            problem = "" if same else f"The file has dtype '{header.dtype}' and shape {header.shape}."
        if problem:
            raise NotProvedError.of(value, problem, "Return it with a plain dtype, or as a list.")

    def load(self, folder: Path, data_type: type) -> np.ndarray | np.generic:
        """Read or map the array."""
        import numpy as np

        path = folder / _ARRAY
        if not path.exists():
            loaded: np.ndarray = JsonMaterializer().load(folder, data_type)
            return loaded
        mapped = path.stat().st_size >= _MAPPED
        data: np.ndarray = np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
        if mapped:
            data = np.asarray(data)  # a plain array whose base is the mapping
        if issubclass(data_type, np.generic):
            return data[()]
        if (folder / _FILL).exists():
            masked = (folder / _MASK).exists()
            mask = np.load(folder / _MASK, allow_pickle=False) if masked else np.ma.nomask
            fill = np.load(folder / _FILL, allow_pickle=False)[()]
            hard = (folder / _HARD).exists()
            return np.ma.MaskedArray(data, mask=mask, fill_value=fill, hard_mask=hard)
        if data_type in (np.matrix, np.recarray):
            return data.view(data_type)
        return data

    def extract_metadata(self, value: np.ndarray | np.generic) -> dict[str, object]:
        """Return dtype, shape, bytes, and min, max and mean of real numbers."""
        import numpy as np

        array = np.asarray(value) if isinstance(value, np.generic) else value
        facts = {"dtype": str(array.dtype), "shape": list(array.shape), "nbytes": int(array.nbytes)}
        if isinstance(array, np.ma.MaskedArray):
            return {**facts, "masked": int(np.ma.getmaskarray(array).sum()), **statistics(array.compressed())}
        return {**facts, **statistics(np.asarray(array))}

    def save_visualizations(self, value: np.ndarray | np.generic, folder: Path) -> dict[str, str]:
        """Draw a histogram of an array of numbers."""
        import numpy as np

        if isinstance(value, np.generic):
            return {}
        page = histogram_html(np.asarray(value), f"{value.dtype} {tuple(value.shape)}")
        if page is None:
            return {}
        (folder / "histogram.html").write_text(page, encoding="utf-8")
        return {"histogram.html": "html"}

    def summary(self, value: np.ndarray | np.generic) -> str:
        """Return type, dtype and shape, or a scalar itself."""
        import numpy as np

        if isinstance(value, np.generic):
            return f"{value!s:.60}"
        return short(f"{type(value).__name__} {value.dtype} {tuple(value.shape)}")
