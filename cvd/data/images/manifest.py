"""data/manifest.csv, data/quarantine.csv and data/images.sha256: every image of the source, and what became of it."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import SPLITS

UNUSED = "unused"
COLUMNS = ("path", "label", "split", "width", "height", "sha256", "group", "source_name", "normalised")
PLANTED = "planted"  # a last column where labels were exchanged on purpose: 1 for such an image, else 0
QUARANTINE_COLUMNS = ("source_name", "reason", "detail")
# Why a member of the source is not in the manifest: a closed list, so that reports can count on it.
REASONS = {
    "not_an_image": "its content is of no image format",
    "empty": "no bytes",
    "unreadable": "the archive cannot give its bytes: wrong checksum, broken compression, a password",
    "truncated": "a part of the image is missing",
    "damaged": "begins like an image, but cannot be decoded",
    "unsupported": "an image of a format or kind that is not read",
    "too_small": "a side is below the least that is used",
    "too_large": "more bytes or pixels than are read",
    "no_label": "neither its folders nor its name say its class",
    "conflicting_label": "its folder and name, or two copies of it, say two classes",
    "duplicate": "the same image is there already",
    "dropped": "a line of data/corrections.csv says so",
    "unsafe": "a link, a device, or a name that leads out of the archive",
}


def write_manifest(rows: Iterable[Mapping[str, object]], path: str | Path) -> None:
    """Write rows with the keys of COLUMNS, and PLANTED if the first has it, by split, class and natural path."""
    ordered = sorted(rows, key=_order)
    _write_csv(path, (*COLUMNS, PLANTED) if ordered and PLANTED in ordered[0] else COLUMNS, ordered)


def write_quarantine(rows: Iterable[Mapping[str, object]], path: str | Path) -> None:
    """Write rows with the keys of QUARANTINE_COLUMNS, ordered by source name."""
    _write_csv(path, QUARANTINE_COLUMNS, sorted(rows, key=lambda row: order_naturally(str(row["source_name"]))))


def write_checksums(manifest: pd.DataFrame, path: str | Path) -> None:
    """Write the images' hashes as `sha256sum --check` reads them in data/images, in the manifest's order."""
    images = manifest[manifest["path"] != ""]
    lines = (f"{sha256}  {image}\n" for sha256, image in zip(images["sha256"], images["path"], strict=True))
    Path(path).write_text("".join(lines), encoding="utf-8")


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read a manifest in its file's order.

    Returns:
        COLUMNS. `path` is relative to data/images, "" when unused. `label` is int64, 0 or 1. `split` is train,
        validation, test or unused. `width` and `height` are int64, px. `sha256` is that of the image file. `group`
        names near-duplicates, `source_name` the archive's member. `normalised` holds words for what was done.
        `planted`, int64, is there where labels were exchanged on purpose: 1 for such an image, else 0.

    Raises:
        InputError: the file is missing or is no manifest.
    """
    frame = _read_csv(path, COLUMNS, "manifest", may_have=PLANTED)
    try:
        frame = frame.astype({name: "int64" for name in ("label", "width", "height", PLANTED) if name in frame})
    except ValueError as error:
        raise InputError(f"{path} is not a manifest: {error}; run `dvc repro split`") from error
    wrong = sorted({*frame["split"]} - {*SPLITS, UNUSED})
    if wrong or not frame["label"].isin((0, 1)).all():
        raise InputError(f"{path} is not a manifest: unknown label or split {', '.join(wrong)}; run `dvc repro split`")
    return frame


def read_quarantine(path: str | Path) -> pd.DataFrame:
    """Read QUARANTINE_COLUMNS, all str; InputError where the file is missing or is no quarantine list."""
    return _read_csv(path, QUARANTINE_COLUMNS, "quarantine list")


def select_split(manifest: pd.DataFrame, split: str) -> pd.DataFrame:
    """Select a split's rows (train, validation, test or unused) in the manifest's order, numbered from 0."""
    if split not in (*SPLITS, UNUSED):
        raise ValueError(f"split {split!r} is not one of {', '.join((*SPLITS, UNUSED))}")
    return manifest[manifest["split"] == split].reset_index(drop=True)


def choose_images(manifest: pd.DataFrame, images: int | Sequence[str]) -> list[str]:
    """Choose paths to show: those given, or at most a number of the test split, both classes in turn.

    Raises:
        InputError: a path is not in the manifest.
    """
    if not isinstance(images, int):
        known = set(manifest["path"]) - {""}
        for path in images:
            if path not in known:
                some = ", ".join(choose_images(manifest, 3)) or "none"
                raise InputError(
                    f"image {path!r} is not in the manifest: give paths as in data/manifest.csv, such as {some}"
                )
        return list(images)
    test = select_split(manifest, "test")
    ranked = test.assign(turn=test.groupby("label").cumcount()).sort_values(["turn", "label"], kind="stable")
    return [str(path) for path in ranked["path"].head(images)]


def order_naturally(text: str) -> tuple[tuple[int, int, str], ...]:
    """Make a sort key by which cat.2 comes before cat.10, for numbers of any length; `int` refuses long ones."""
    parts = re.split(r"([0-9]+)", text)
    return tuple(_order_number(part) if i % 2 else (1, 0, part) for i, part in enumerate(parts))


def _order_number(digits: str) -> tuple[int, int, str]:
    significant = digits.lstrip("0")
    return 0, len(significant), f"{significant} {digits}"


def _order(row: Mapping[str, object]) -> tuple[object, ...]:
    place = (*SPLITS, UNUSED).index(str(row["split"]))
    return place, row["label"], order_naturally(str(row["path"])), order_naturally(str(row["source_name"]))


def _write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read_csv(path: str | Path, columns: Sequence[str], what: str, *, may_have: str | None = None) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror}; run `dvc repro split`") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path} is not a {what}: {' '.join(str(error).split())}; run `dvc repro split`") from error
    if tuple(name for name in frame.columns if name != may_have) != tuple(columns):
        raise InputError(f"{path} is not a {what}: its columns are {','.join(frame.columns)}, not {','.join(columns)}")
    return frame
