"""Matplotlib figures as the pictures that they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rayform_runtime.artifacts.materializers.base import Materializer, short

__all__ = ["FigureMaterializer"]

_PNG, _SVG = "figure.png", "figure.svg"


class FigureMaterializer(Materializer):
    """Stores a figure as PNG and SVG. It comes back as a PIL image: a figure itself could only be pickled."""

    ASSOCIATED_ARTIFACT_TYPE = "data_analysis"

    def save(self, value: Any, folder: Path) -> None:
        """Draw the figure, without a display and the same each time."""
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        before = value.canvas
        try:
            png: Any = FigureCanvasAgg(value)  # Matplotlib's canvases aren't typed
            png.print_png(str(folder / _PNG), metadata={"Software": None})
            with mpl.rc_context({"svg.hashsalt": "rayform"}):
                svg: Any = FigureCanvasSVG(value)
                svg.print_svg(str(folder / _SVG), metadata={"Date": None})
        finally:
            value.set_canvas(before)  # a canvas takes its figure over

    def load(self, folder: Path, data_type: type) -> Any:
        """Return the picture as a PIL image."""
        from PIL import Image

        with Image.open(folder / _PNG, formats=["PNG"]) as image:
            return image.copy()

    def extract_metadata(self, value: Any) -> dict[str, Any]:
        """Return size in inches, resolution, and titles of the axes."""
        width, height = value.get_size_inches()
        return {
            "width_inches": float(width),
            "height_inches": float(height),
            "dpi": float(value.dpi),
            "axes": [axes.get_title() for axes in value.axes],
        }

    def save_visualizations(self, value: Any, folder: Path) -> dict[str, str]:
        """Show the pictures that `save` drew."""
        for name in (_PNG, _SVG):
            shutil.copyfile(folder.parent / name, folder / name)
        return {_PNG: "image", _SVG: "image"}

    def summary(self, value: Any) -> str:
        """Return size and titles."""
        width, height = value.get_size_inches()
        titles = ", ".join(axes.get_title() for axes in value.axes if axes.get_title())
        return short(f"figure {width:g} x {height:g} in" + (f" ({titles})" if titles else ""))
