"""The look of every figure: colours for colour-blind eyes, for print and for dark pages. No TensorFlow."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.typing import ColorType

from cvd.runtime.vocabulary import HUES, SHADES, SPARE_HUES


@dataclass(frozen=True)
class Theme:
    """The look of a figure: `paper` lies behind it, `ink` and `muted` write on it, `grid` divides it."""

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    fill: float  # opacity of shaded areas

    def create_figure(self, width: float, height: float) -> Figure:
        """Create an empty figure of a size in inches, laid out without overlaps, that needs no display."""
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
        figure = Figure(figsize=(width, height), facecolor=self.paper, layout=layout)
        FigureCanvasAgg(figure)
        return figure

    def create_grid(self, n: int, n_across: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
        """Create a figure of a size in inches with `n` axes in rows of `n_across`; hide the rest of the last row."""
        figure = self.create_figure(width, height)
        grid = list(figure.subplots(-(-n // n_across), n_across, squeeze=False).flat)
        for axes in grid[n:]:
            axes.set_visible(False)
        return figure, grid[:n]

    def dress(self, axes: Axes) -> None:
        """Give axes the common look: no box, a light grid behind, quiet tick labels."""
        axes.set_facecolor(self.paper)
        axes.set_axisbelow(True)
        axes.grid(color=self.grid, linewidth=0.8)
        axes.tick_params(length=0, colors=self.muted, labelsize=9)
        axes.xaxis.label.set(color=self.muted, fontsize=9)
        axes.yaxis.label.set(color=self.muted, fontsize=9)
        for spine in axes.spines.values():
            spine.set_visible(False)

    def write_title(self, axes: Axes, title: str, subtitle: str, colour: str) -> None:
        """Write a bold title in its colour and a quiet line under it, both at the left edge of the axes."""
        axes.set_title(subtitle, loc="left", fontsize=9, color=self.muted, pad=6)
        place: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (0, 20), "textcoords": "offset points"}
        axes.annotate(title, (0, 1), **place, color=colour, fontsize=12, fontweight="bold")

    def write_legend(self, figure: Figure, handles: list, *, n_columns: int) -> None:
        """Write a legend under all axes."""
        look: dict[str, Any] = {"frameon": False, "fontsize": 9, "labelcolor": self.ink, "handlelength": 2.4}
        figure.legend(handles=handles, loc="outside lower left", ncols=n_columns, **look)

    def hide_lines(self) -> dict[str, Any]:
        """Style the box behind a text so that no line runs through it."""
        return {"facecolor": self.paper, "edgecolor": "none", "alpha": 0.85, "pad": 1.2}

    def hollow(self, colour: str) -> dict[str, Any]:
        """Style a mark as an outline in a colour."""
        return {"markerfacecolor": self.paper, "markeredgecolor": colour, "markeredgewidth": 2}


NARROW = 4.2  # width of a figure for narrow screens, in inches
LIGHT = Theme("light", paper="#ffffff", ink="#1b1f24", muted="#57606a", grid="#e4e7eb", fill=0.16)
DARK = Theme("dark", paper="#16191d", ink="#eceff3", muted="#a5adb8", grid="#2e343b", fill=0.26)

_SHADES = {
    "light": SHADES,
    "dark": {
        "vermilion": "#f58a4b",
        "blue": "#5cb3ea",
        "orange": "#ecb13d",
        "green": "#3ecaa0",
        "purple": "#e094bd",
        "sky": "#8fd0f5",
        "grey": "#aeb6c1",
        "yellow": "#e6dc52",
    },
}


def choose_colours(variants: Iterable[str], theme: Theme = LIGHT) -> dict[str, str]:
    """Choose a colour for each variant, the same in every figure, unless another one in the figure has it already.

    Names that the project does not know get the spare colours in turn; with more than eight, colours come again.
    """
    hues: dict[str, str] = {}
    for i, name in enumerate(variants):
        free = [hue for hue in SPARE_HUES if hue not in hues.values()] or [SPARE_HUES[i % len(SPARE_HUES)]]
        known = HUES.get(name)
        hues[name] = known if known and known not in hues.values() else free[0]
    return {name: _SHADES[theme.name][hue] for name, hue in hues.items()}


def measure_contrast(colour: ColorType, other: ColorType) -> float:
    """Measure the contrast ratio of two sRGB colours, 1 to 21; 4.5 is enough for text (WCAG 2.2)."""
    channels = np.array([to_rgb(colour), to_rgb(other)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    dark, bright = np.sort(linear @ (0.2126, 0.7152, 0.0722))
    return float((bright + 0.05) / (dark + 0.05))


def share_layout(figure: Figure, laid_out: Figure) -> None:
    """Give a figure the places of the axes of the same figure in another theme, rendered already: half of the time."""
    for axes, others in zip(figure.axes, laid_out.axes, strict=True):
        axes.set_position(others.get_position(original=True))
    figure.set_layout_engine("none")


def render_figure(figure: Figure, *, dpi: int) -> np.ndarray:
    """Render a figure as pixels, (h, w, 3), uint8."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def save_figure(figure: Figure, path: str | Path | BinaryIO, *, dpi: int = 150) -> None:
    """Write a PNG; the same figure gives the same bytes."""
    figure.savefig(path, dpi=dpi, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
