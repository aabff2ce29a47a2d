"""Matplotlib figures as pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_runtime.artifacts.materializers.base import Materializer, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["FigureMaterializer"]

_PNG, _SVG = "figure.png", "figure.svg"


class FigureMaterializer(Materializer):
    """Stores a figure as PNG and SVG. It comes back as a PIL image, since a figure itself could only be pickled."""

    ASSOCIATED_ARTIFACT_TYPE = "data_analysis"

    def save(self, value: Figure, folder: Path) -> None:
        """Draw the figure, without a display and the same each time."""
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        before = value.canvas
        try:
            # Matplotlib doesn't annotate its canvases.
            FigureCanvasAgg(value).print_png(  # type: ignore[no-untyped-call]
                str(folder / _PNG), metadata={"Software": None}
            )
            with mpl.rc_context({"svg.hashsalt": "rayform"}):
                FigureCanvasSVG(value).print_svg(  # type: ignore[no-untyped-call]
                    str(folder / _SVG), metadata={"Date": None}
                )
        finally:
            value.set_canvas(before)  # making a canvas replaces the figure's own

    def load(self, folder: Path, data_type: type) -> Image:
        """Return the picture as a PIL image."""
        from PIL import Image

        with Image.open(folder / _PNG, formats=["PNG"]) as image:
            return image.copy()

    def extract_metadata(self, value: Figure) -> dict[str, object]:
        """Return size in inches, resolution, and titles of the axes."""
        width, height = value.get_size_inches()
        return {
            "width_inches": float(width),
            "height_inches": float(height),
            "dpi": float(value.dpi),
            "axes": [axes.get_title() for axes in value.axes],
        }

    def save_visualizations(self, value: Figure, folder: Path) -> dict[str, str]:
        """Show the pictures that `save` drew."""
        for name in (_PNG, _SVG):
            shutil.copyfile(folder.parent / name, folder / name)
        return {_PNG: "image", _SVG: "image"}

    def summary(self, value: Figure) -> str:
        """Return size and titles."""
        width, height = value.get_size_inches()
        titles = ", ".join(axes.get_title() for axes in value.axes if axes.get_title())
        return short(f"figure {width:g} x {height:g} in" + (f" ({titles})" if titles else ""))
