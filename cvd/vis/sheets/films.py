"""Where a network looks as it learns: the same images, epoch by epoch. Arrays in, pictures out; no TensorFlow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvd.vis.explaining.geometry import View
from cvd.vis.sheets.drawing import FAINT, MARGIN, SMALL, WRONG, Sheet, fit_picture, name_file, write_png
from cvd.vis.sheets.overlays import SPACE, draw_comparison, find_hottest, lay_bar, overlay_heat

FRAME = 150  # longer side of a picture, px
MOST_FRAMES = 10  # of a film strip


class Moment(NamedTuple):
    """A network after an epoch of its training."""

    epoch: int
    accuracy: float  # as it trained, on augmented images where they are
    val_accuracy: float
    views: Mapping[str, View]  # of images by path: the same ones at every epoch

    @property
    def lines(self) -> list[str]:
        """How well it knew the images, in words."""
        return [f"train {self.accuracy:.0%}", f"validation {self.val_accuracy:.0%}"]


def write_film(folder: Path, images: Mapping[str, np.ndarray], moments: Sequence[Moment], *, caption: str) -> None:
    """Write VARIANT.png, a film of images, (h, w, 3) uint8, and IMAGE-epoch-N.png of each; nothing without moments."""
    if not moments:
        return
    variant = next(iter(moments[0].views.values())).variant
    write_png(draw_film(images, moments, title=f"{variant}, as it learns", caption=caption), folder / f"{variant}.png")
    for moment in moments:
        note = f"after epoch {moment.epoch}: {', '.join(moment.lines)}"
        for path, image in images.items():
            view = moment.views[path]
            last = view._replace(heats=view.find_pair(view.heats[-1]))  # narrow enough for MLflow's grid
            sheet = draw_comparison(image, [last], title=path, caption=caption, note=note)
            write_png(sheet, folder / f"{name_file(path)}-epoch-{moment.epoch}.png")


def draw_film(images: Mapping[str, np.ndarray], moments: Sequence[Moment], *, title: str, caption: str) -> np.ndarray:
    """Draw a row for each image, (h, w, 3) uint8, and a column for each of at most ten epochs: (H, W, 3), uint8.

    A picture has the heat of the class that the network names at that epoch, by the last layer, on its own scale.
    """
    chosen = np.unique(np.linspace(0, len(moments) - 1, min(len(moments), MOST_FRAMES)).round().astype(int))
    frames = [moments[index] for index in chosen]
    small = {path: fit_picture(image, FRAME) for path, image in images.items()}
    step, pitch, top = FRAME + SPACE, max(picture.shape[0] for picture in small.values()) + 44, 164
    width = max(2 * MARGIN + (1 + len(frames)) * step - SPACE, 760)
    sheet = Sheet(top + len(small) * pitch + 34 + MARGIN, width)
    sheet.write_header(title, caption)
    sheet.write(
        "Each picture: the heat of the class that the network names then.", MARGIN, 76, size_px=SMALL, ink=FAINT
    )
    for column, frame in enumerate(frames, 1):
        x = MARGIN + column * step
        sheet.write(f"epoch {frame.epoch}", x, top - 62, bold=True)
        for line, words in enumerate(frame.lines):
            sheet.write(words, x, top - 40 + 18 * line, size_px=SMALL, ink=FAINT)
    for row, (path, picture) in enumerate(small.items()):
        y = top + row * pitch
        sheet.lay(picture, MARGIN, y)
        sheet.write(path, MARGIN, y + picture.shape[0] + 5, size_px=SMALL, ink=FAINT, room=FRAME)
        for column, frame in enumerate(frames, 1):
            view, x = frame.views[path], MARGIN + column * step
            heat = next(heat for heat in reversed(view.heats) if heat.label == view.label)
            sheet.lay(overlay_heat(picture, heat.map, largest=find_hottest([heat])), x, y)
            is_contradicted = view.is_contradicted(heat)
            words = f"{view.label} {max(view.probability, 1 - view.probability):.0%}"
            sheet.write(words, x, y + picture.shape[0] + 5, size_px=SMALL, ink=WRONG if is_contradicted else FAINT)
    lay_bar(
        sheet, MARGIN + step, top + len(small) * pitch, 2 * step - SPACE, high="maximum of each picture", overlaid=True
    )
    return sheet.pixels
