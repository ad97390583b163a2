"""Heat maps of many images by one network, in one small file: cells as the network has them, and where they lie.

No TensorFlow: what draws them later needs no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.vis.explaining.geometry import Axis, Cells, Heat, View, lay_maps
from cvd.vis.explaining.layers import PIXELS, name_depths


def caption_pairs(title: str, labels: Sequence[str]) -> str:
    """Say what pictures of a method's maps for both classes show."""
    first, second = labels
    return f"{title}: where each network finds evidence for {first}, and for {second}"


@dataclass(frozen=True)
class HeatMaps:
    """What one network says of n images, and its maps of them by one method, for s classes each."""

    variant: str
    title: str  # of the method
    unit: str  # of the maps
    note: str  # what a reader of the maps must know
    labels: Sequence[str]  # of the two classes: signs -1 and +1
    paths: Sequence[str]  # of the images, n
    probabilities: np.ndarray  # (n,), of the second class
    signs: np.ndarray  # (n, s), which class each map explains: +1 the second, -1 the first
    maps: Mapping[str, np.ndarray]  # of each layer, from the input to the output, (n, s, h', w'), >= 0
    cells: Mapping[str, Cells | None]  # where each layer's cells lie; None: on the whole image

    @property
    def caption(self) -> str:
        """Caption of pictures with both classes."""
        return caption_pairs(self.title, self.labels)

    def describe(self) -> str:
        """Name the method, and the last convolution unless it explains by the pixels."""
        return self.title if PIXELS in self.maps else f"{self.title} at the last convolution"

    def sum_last(self) -> np.ndarray:
        """Sum the cells of the last layer's maps: (n, s)."""
        *_, last = self.maps.values()
        return last.sum(axis=(2, 3), dtype=np.float64)

    def view(self, path: str) -> View:
        """View one image: its probability, and each layer's heat for each class, laid on the image."""
        index = list(self.paths).index(path)
        heats = [
            Heat(self.labels[int(sign > 0)], layer, heat, self.unit, depth, float(total))
            for (layer, maps), depth in zip(self.maps.items(), name_depths(len(self.maps)), strict=True)
            for sign, heat, total in zip(
                self.signs[index],
                lay_maps(maps[index], self.cells[layer]),
                maps[index].sum(axis=(1, 2), dtype=np.float64),
                strict=True,
            )
        ]
        return View(self.variant, float(self.probabilities[index]), heats, self.labels, self.title)


def write_heatmaps(path: Path, **sets: HeatMaps) -> None:
    """Write named sets of maps into one .npz file, whole or not at all; equal sets give equal bytes."""
    arrays: dict[str, Any] = {}
    for name, heats in sets.items():
        words = np.array([heats.variant, heats.title, heats.unit, heats.note, *heats.labels])
        arrays |= {f"{name}/words": words, f"{name}/paths": np.array(heats.paths, dtype=np.str_)}
        arrays |= {f"{name}/probabilities": heats.probabilities, f"{name}/signs": heats.signs}
        arrays[f"{name}/layers"] = np.array(list(heats.maps), dtype=np.str_)
        for number, (layer, maps) in enumerate(heats.maps.items()):
            cells = heats.cells[layer]
            arrays[f"{name}/maps{number}"] = maps
            # Offset and stride of rows and of columns, height and width of the input; nothing where they are unknown.
            numbers = [] if cells is None else [*cells.rows, *cells.columns, *cells.size]
            arrays[f"{name}/cells{number}"] = np.array(numbers, np.float64)
    with replace_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def name_epoch(epoch: int) -> str:
    """Name the set of maps by the network as it was after an epoch."""
    return f"epoch-{epoch}"


def list_epochs(path: Path) -> list[int]:
    """List the epochs of such sets in a file, the first one first."""
    with np.load(path, allow_pickle=False) as arrays:
        sets = {key.partition("/")[0] for key in arrays.files}
    return sorted(int(name.removeprefix("epoch-")) for name in sets if name.startswith("epoch-"))


def read_heatmaps(path: Path, name: str) -> HeatMaps:
    """Read one of the sets that `write_heatmaps` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            variant, title, unit, note, *labels = (str(word) for word in arrays[f"{name}/words"])
            layers = [str(layer) for layer in arrays[f"{name}/layers"]]
            numbers = dict(enumerate(layers))
            return HeatMaps(
                variant,
                title,
                unit,
                note,
                labels,
                [str(image) for image in arrays[f"{name}/paths"]],
                arrays[f"{name}/probabilities"],
                arrays[f"{name}/signs"],
                {layer: arrays[f"{name}/maps{number}"] for number, layer in numbers.items()},
                {layer: _make_cells(arrays[f"{name}/cells{number}"]) for number, layer in numbers.items()},
            )
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        advice = f"make it again with `dvc repro -f explanations@{path.stem}`"
        raise InputError(f"heat maps {path} cannot be read ({error}): {advice}") from error


def _make_cells(numbers: np.ndarray) -> Cells | None:
    if not numbers.size:
        return None
    values = [float(number) for number in numbers]
    return Cells(Axis(*values[:2]), Axis(*values[2:4]), (int(values[4]), int(values[5])))
