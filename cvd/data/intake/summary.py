"""A data report: counts as a dictionary, and contact sheets."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cvd.data.images.manifest import PLANTED, REASONS, UNUSED, select_split
from cvd.data.images.pixels import decode_image
from cvd.runtime.vocabulary import SPLITS, Classes, name_classes

_CELL_PX = 96
_COLUMNS = 8
_ROWS = 6
_GAP_PX = 2
_LINE_PX = 14
_MAX_LISTED = 200  # groups of near-duplicates that are written out
_MAX_SHOWN = 24  # of them in pictures, a row each
Lines = Sequence[str]


def summarise_data(manifest: pd.DataFrame, quarantine: pd.DataFrame, *, n_masks: int = 0) -> dict[str, Any]:
    """Count what a source held; `n_masks` are members that are masks of an image.

    Returns:
        `members` is `images` + `quarantined`; `masks` are beside them. `splits` is {split: {class: n}}, `reasons`
        {reason: n}, `normalised` {word: n}. `width` and `height` are {least, median, most}, px. `near_duplicates`
        counts and lists groups of two or more images. Its `left_out` counts images without room in their group's split.
        Its `leaked`, where near-duplicates may part, counts validation and test images with one in train. `planted`,
        where labels were exchanged on purpose, counts these by class as it is given.
    """
    groups = [sorted(group) for _, group in manifest.groupby("group", sort=True)["source_name"] if len(group) > 1]
    across = manifest.groupby("group")["label"].nunique()
    classes = name_classes(manifest["path"], manifest["label"])
    reasons = Counter(quarantine["reason"])
    words = Counter(word for text in manifest["normalised"] for word in text.split())
    return {
        "members": len(manifest) + len(quarantine),
        "images": len(manifest),
        "quarantined": len(quarantine),
        "masks": n_masks,
        "splits": {split: _count_classes(select_split(manifest, split), classes) for split in (*SPLITS, UNUSED)},
        "reasons": {reason: reasons[reason] for reason in REASONS if reasons[reason]},
        "normalised": dict(sorted(words.items())),
        **{side: _measure(manifest[side]) for side in ("width", "height")},
        "near_duplicates": {
            "groups": len(groups),
            "images": sum(map(len, groups)),
            "largest": max(map(len, groups), default=0),
            "of_both_classes": int((across > 1).sum()),
            "left_out": _count_left_out(manifest),
            **({"leaked": n_leaked} if (n_leaked := count_leaked(manifest)) else {}),
            "names": groups[:_MAX_LISTED],
        },
        **({PLANTED: _count_classes(manifest[manifest[PLANTED] == 1], classes)} if PLANTED in manifest else {}),
    }


def write_sheets(images: Path, manifest: pd.DataFrame, folder: Path) -> list[Path]:
    """Write contact sheets of data/images into an existing folder, and return their files.

    `{split}_{class}.png`: up to 48 images, spread evenly over the split.
    `near_duplicates.png`, where there are any: a row for each group, those that disagree about the class first, each
    image with the end of its name in the source, and its split.
    """
    written, classes = [], name_classes(manifest["path"], manifest["label"])
    for split in SPLITS:
        rows = select_split(manifest, split)
        for label, name in enumerate(classes):
            paths = list(rows["path"][rows["label"] == label])
            n = min(len(paths), _COLUMNS * _ROWS)
            chosen = [paths[i * len(paths) // n] for i in range(n)]
            sheet = tile_images([decode_image(images / path) for path in chosen])
            written.append(_write_png(sheet, folder / f"{split}_{name}.png"))
    if groups := _choose_groups(manifest):
        rows_of_images = [[decode_image(images / path) for path in group["path"]] for group in groups]
        captions = [list(zip(group["source_name"], group["split"], strict=True)) for group in groups]
        written.append(_write_png(stack_rows(rows_of_images, captions), folder / "near_duplicates.png"))
    return written


def stack_rows(rows: Sequence[Sequence[NDArray[np.uint8]]], captions: Sequence[Sequence[Lines]]) -> NDArray[np.uint8]:
    """Draw a contact sheet with a row for each sequence of images, and lines under each image."""
    n_columns = max(map(len, rows))
    blank = np.full((_CELL_PX, _CELL_PX, 3), 255, np.uint8)
    n_blank = [n_columns - len(row) for row in rows]
    cells = [cell for row, n in zip(rows, n_blank, strict=True) for cell in [*row, *[blank] * n]]
    lines = [line for row, n in zip(captions, n_blank, strict=True) for line in [*row, *[()] * n]]
    return tile_images(cells, n_columns=n_columns, captions=lines)


def tile_images(
    images: Iterable[NDArray[np.uint8]], *, n_columns: int = _COLUMNS, captions: Sequence[Lines] = ()
) -> NDArray[np.uint8]:
    """Draw a contact sheet, (h, w, 3) uint8 on white, of (h', w', 3) uint8 images, fitted into square cells.

    `captions` are the lines under each; the beginning of a line that is too long is left out.
    """
    cells = [_fit(image) for image in images]
    height, pitch = _CELL_PX + _GAP_PX + _LINE_PX * max(map(len, captions), default=0), _CELL_PX + _GAP_PX
    n_columns = max(1, min(n_columns, len(cells)))
    n_rows = max(1, -(-len(cells) // n_columns))
    sheet = Image.new("RGB", (n_columns * pitch + _GAP_PX, n_rows * height + _GAP_PX), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_LINE_PX - 3)
    for i, cell in enumerate(cells):
        top, left = _GAP_PX + i // n_columns * height, _GAP_PX + i % n_columns * pitch
        sheet.paste(Image.fromarray(cell), (left, top))
        for number, line in enumerate(captions[i] if captions else ()):
            while pen.textlength(line, font) > _CELL_PX:
                line = "…" + line[2:]
            pen.text((left, top + _CELL_PX + number * _LINE_PX), line, "black", font)
    return np.array(sheet)


def _choose_groups(manifest: pd.DataFrame) -> list[pd.DataFrame]:
    """Choose near-duplicates to show: some rows of each group; unused images are left out."""
    placed = manifest[manifest["path"] != ""]
    groups = [group for _, group in placed.groupby("group", sort=True) if len(group) > 1]
    groups.sort(key=lambda group: -group["label"].nunique())
    return [group[:_COLUMNS] for group in groups[:_MAX_SHOWN]]


def _write_png(image: NDArray[np.uint8], path: Path) -> Path:
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.write_bytes(png.tobytes())
    return path


def _fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = _CELL_PX / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    small = np.asarray(
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    )
    cell = np.full((_CELL_PX, _CELL_PX, 3), 255, np.uint8)
    top, left = (_CELL_PX - height) // 2, (_CELL_PX - width) // 2
    cell[top : top + height, left : left + width] = small
    return cell


def _count_left_out(manifest: pd.DataFrame) -> int:
    """Count unused images of groups that filled a split's last places."""
    used = set(manifest["group"][manifest["split"] != UNUSED])
    return int(select_split(manifest, UNUSED)["group"].isin(used).sum())


def count_leaked(manifest: pd.DataFrame) -> int:
    """Count validation and test images that have a near-duplicate in train."""
    learned = set(select_split(manifest, "train")["group"])
    return int((manifest["split"].isin(("validation", "test")) & manifest["group"].isin(learned)).sum())


def _count_classes(rows: pd.DataFrame, classes: Classes) -> dict[str, int]:
    return {name: int((rows["label"] == label).sum()) for label, name in enumerate(classes)}


def _measure(sides: pd.Series) -> dict[str, int]:
    return {"least": int(sides.min()), "median": int(sides.median()), "most": int(sides.max())}
