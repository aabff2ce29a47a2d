"""PIL images as PNG or raw pixels, without loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_runtime.artifacts.materializers.base import Materializer
from rayform_runtime.artifacts.materializers.json_values import JsonMaterializer

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PILMaterializer"]

_PNG_MODES = frozenset(("1", "L", "LA", "P", "RGB", "RGBA", "I;16"))
_IMAGE, _RAW, _ABOUT = "image.png", "image.raw", "image.json"
_INFO = "info"
_LONGEST_SIDE = 1024


class PILMaterializer(Materializer):
    """Stores images as PNG, and those that PNG can't hold (CMYK, floats, very large ones) as raw pixels."""

    def __init__(self) -> None:
        self._info: JsonMaterializer | None = None
        """Wrote the image's `info` (EXIF data, resolution), if it has any."""

    def save(self, value: Image, folder: Path) -> None:
        """Write the image."""
        from PIL import Image

        value.load()
        pixels = value.width * value.height
        # PIL refuses to open larger PNG files, which could be bombs. Ours are verified, but the limit is global.
        small = 0 < pixels <= (Image.MAX_IMAGE_PIXELS or pixels)
        as_png = value.mode in _PNG_MODES and small
        about = {"mode": value.mode, "size": list(value.size), "png": as_png}
        if as_png:
            value.save(folder / _IMAGE, format="PNG", compress_level=3)
        else:
            (folder / _RAW).write_bytes(value.tobytes())
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        if value.info:
            (folder / _INFO).mkdir(mode=0o700)
            self._info = JsonMaterializer()
            self._info.save(value.info, folder / _INFO)

    def prove(self, value: Image, folder: Path) -> None:
        """Read a small image again; compare what it says about itself.

        Raises:
            NotProvedError: it would not come back.
        """
        super().prove(value, folder)
        if self._info is not None:
            self._info.prove(value.info, folder / _INFO)

    def load(self, folder: Path, data_type: type) -> Image:
        """Read the image."""
        loaded = self._pixels(folder)
        if (folder / _INFO).exists():
            loaded.info = JsonMaterializer().load(folder / _INFO, dict)
        return loaded

    def _pixels(self, folder: Path) -> Image:
        from PIL import Image

        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        if not about["png"]:
            width, height = about["size"]
            if not 0 <= width * height <= 8 * (folder / _RAW).stat().st_size:
                raise ValueError("the file has fewer pixels than the image")
            return Image.frombytes(about["mode"], tuple(about["size"]), (folder / _RAW).read_bytes())
        with Image.open(folder / _IMAGE, formats=["PNG"]) as image:
            loaded = image.copy()  # unlike the original, the copy keeps no file open
        return loaded if loaded.mode == about["mode"] else loaded.convert(about["mode"])

    def extract_metadata(self, value: Image) -> dict[str, object]:
        """Return width, height, mode and the format that it was read from."""
        facts: dict[str, object] = {"width": value.width, "height": value.height, "mode": value.mode}
        if getattr(value, "format", None):
            facts["format"] = value.format
        return facts

    def save_visualizations(self, value: Image, folder: Path) -> dict[str, str]:
        """Show the image, at most 1,024 pixels wide and high."""
        if not (value.width and value.height):
            return {}
        picture = value.copy()
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        if picture.mode not in ("L", "RGB", "RGBA"):
            picture = picture.convert("RGBA" if "A" in picture.mode or picture.mode == "P" else "RGB")
        picture.save(folder / "image.png", format="PNG")
        return {"image.png": "image"}

    def summary(self, value: Image) -> str:
        """Return mode and size."""
        return f"image {value.mode} {value.width} x {value.height}"
