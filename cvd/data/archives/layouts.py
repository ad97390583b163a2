"""Where a source's label stands: in folders or in file names; and the names that image files get here."""

import re
from dataclasses import dataclass

from cvd.runtime.vocabulary import LABELS

_WORDS = {"cat": 0, "cats": 0, "kitten": 0, "kittens": 0, "dog": 1, "dogs": 1, "puppy": 1, "puppies": 1}
_FILLERS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "only", "class", "set"}) | {
    "data", "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pet", "pets"
}  # fmt: skip
# Kaggle's cat.12.jpg, and the like: cat_12, cat-12, cat12, Cat (12).
_NUMBERED = re.compile(r"(cat|dog)s?[ ._-]*\(?[0-9]+\)?", re.IGNORECASE)
_NAMED = re.compile(r"(cat|dog)s?(?![a-z])", re.IGNORECASE)
_JUNK = frozenset({".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db"})
_MASK = re.compile(r"masks/(animal|head)/(.+)\.png", re.IGNORECASE)
_MAX_STEM = 60  # characters of a source's file name that are kept


@dataclass(frozen=True)
class Labelling:
    """A label (0 cat, 1 dog, None: none) and, where there is none, the reason and its detail."""

    label: int | None
    reason: str = ""
    detail: str = ""


def find_label(name: str) -> Labelling:
    """Read a member's label from its name in the archive.

    The deepest folder counts whose words are one class's (`cat`, `Cats`, `train_cats`, `0-cat`, `CatImages`) or filler.
    A file name counts when it begins with cat or dog. Where the folder contradicts a numbered name (`cat.12.jpg`), the
    reason is `conflicting_label`. Folders called train or validation are ignored: the split is ours.
    """
    *folders, file = name.split("/")
    by_folder = next((label for label in map(_read_folder, reversed(folders)) if label is not None), None)
    numbered, named = _NUMBERED.match(file), _NAMED.match(file)
    if by_folder is not None:
        by_name = _WORDS[numbered[1].lower()] if numbered else by_folder
        if by_name != by_folder:
            return Labelling(None, "conflicting_label", f"its folder says {LABELS[by_folder]}, its name does not")
        return Labelling(by_folder)
    if match := numbered or named:
        return Labelling(_WORDS[match[1].lower()])
    return Labelling(None, "no_label", "neither a folder nor the name says cat or dog")


def is_junk(name: str) -> bool:
    """True for files that macOS or Windows leave behind."""
    *folders, file = name.split("/")
    return "__MACOSX" in folders or file.startswith("._") or file.lower() in _JUNK


def find_mask(name: str) -> tuple[str, str] | None:
    """Find the kind (`animal`, `head`) and the image's name without suffix (`cat/cat.0`) of `masks/KIND/….png`."""
    match = _MASK.fullmatch(name)
    return (match[1].lower(), match[2]) if match else None


def make_stem(name: str, label: str) -> str:
    """Make a file name without suffix: `LABEL.` and the harmless characters of the member's own.

    `train/cat.12.jpg` -> `cat.12`, `PetImages/Cat/12.jpg` -> `cat.12`, `cats/Tom & Jerry.png` -> `cat.Tom_Jerry`.
    """
    stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    stem = re.sub(r"^(cat|dog)s?[ ._-]*(?=[0-9(])", "", stem, flags=re.IGNORECASE)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:_MAX_STEM].strip("._-")
    return f"{label}.{stem or 'image'}"


def _read_folder(folder: str) -> int | None:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", folder)
    words = re.findall(r"[a-z]+", spaced.lower())
    labels = {_WORDS[word] for word in words if word in _WORDS}
    rest = [word for word in words if word not in _WORDS and word not in _FILLERS]
    return labels.pop() if len(labels) == 1 and not rest else None
