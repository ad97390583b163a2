"""Augmentation previews: an image beside its augmented copies, with what was done to each under it."""

from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cvd.vis.charts.themes import LIGHT

N_ACROSS = 8  # pictures in a line
ROWS = 6  # images on a page
SIDE = 1.5  # of a picture, inches
GAP, MARGIN = 0.14, 0.3  # between pictures and around them, inches
TITLE, LINE = 0.62, 0.125  # heights of the title and of a caption's line, inches
FRAME = 0.035  # width of the original's frame, inches
MOST_LETTERS = 26  # of a caption's line, whose end is shown
ACCENT = "#c44e00"
SUBTITLE = "Framed: the original. Every copy is one random draw. Where a picture is moved, pixels at its edge repeat."


@dataclass(frozen=True)
class Preview:
    """An image and its augmented copies."""

    name: str
    image: np.ndarray  # (h, w, 3), uint8
    copies: list[np.ndarray]  # each like `image`
    captions: list[list[str]]  # of each copy short lines that say what was done to it


def draw_previews(previews: list[Preview]) -> Figure:
    """Draw at least one image, one below the other: the original, framed, then its copies, eight to a line."""
    if not previews:
        raise ValueError("previews is empty: there must be at least one image to draw")
    n_across = min(N_ACROSS, max(len(preview.copies) for preview in previews) + 1)
    blocks = [_measure(preview, n_across) for preview in previews]
    width = 2 * MARGIN + max(5, n_across) * (SIDE + GAP) - GAP
    height = 2 * MARGIN + TITLE + sum(n_lines * line for n_lines, line in blocks) + GAP * (len(blocks) - 1)
    figure = Figure(figsize=(width, height), facecolor=LIGHT.paper)
    FigureCanvasAgg(figure)
    top = height - MARGIN
    _write(figure, MARGIN, top, "One image, augmented", size=13, weight="bold", colour=LIGHT.ink)
    _write(figure, MARGIN, top - 0.28, SUBTITLE, size=8.5, colour=LIGHT.muted)
    top -= TITLE
    for preview, (n_lines, line) in zip(previews, blocks, strict=True):
        _draw_preview(figure, preview, top, n_across, line)
        top -= n_lines * line + GAP
    return figure


def _measure(preview: Preview, n_across: int) -> tuple[int, float]:
    """Count the lines of pictures, and measure one with its captions, in inches."""
    n_lines = -(-(len(preview.copies) + 1) // n_across)
    n_captions = max([2, *map(len, preview.captions)])
    return n_lines, SIDE + 0.08 + n_captions * LINE + GAP


def _draw_preview(figure: Figure, preview: Preview, top: float, n_across: int, line: float) -> None:
    pictures, captions = [preview.image, *preview.copies], [["original", preview.name], *preview.captions]
    for position, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(position, n_across)
        left, upper = MARGIN + column * (SIDE + GAP), top - row * line
        if position == 0:
            _frame(figure, left, upper)
        _show(figure, picture, left, upper)
        for number, text in enumerate(caption):
            is_heading = position == 0 and number == 0
            style = {"weight": "bold", "colour": ACCENT} if is_heading else {"colour": LIGHT.muted}
            shown = text if len(text) <= MOST_LETTERS else "…" + text[1 - MOST_LETTERS :]
            _write(figure, left, upper - SIDE - 0.07 - number * LINE, shown, size=6.8, **style)


def _show(figure: Figure, picture: np.ndarray, left: float, top: float) -> None:
    """Put a picture on the page, its top left corner at (left, top) inches."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, (top - SIDE) / height, SIDE / width, SIDE / height))
    axes.set_axis_off()
    axes.imshow(picture, interpolation="antialiased", aspect="auto")


def _frame(figure: Figure, left: float, top: float) -> None:
    """Lay a coloured square behind a picture, which shows around it."""
    width, height = figure.get_size_inches()
    corner = ((left - FRAME) / width, (top - SIDE - FRAME) / height)
    side = SIDE + 2 * FRAME
    frame = Rectangle(corner, side / width, side / height, color=ACCENT, linewidth=0, zorder=-1)
    frame.set_transform(figure.transFigure)
    figure.add_artist(frame)


def _write(
    figure: Figure, left: float, top: float, text: str, *, size: float, colour: str, weight: str = "normal"
) -> None:
    """Write a line of text, its top left corner at (left, top) inches."""
    width, height = figure.get_size_inches()
    figure.text(left / width, top / height, text, va="top", ha="left", size=size, color=colour, weight=weight)
