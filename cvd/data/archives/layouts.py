"""Where a source's label stands: in folders or in file names; and the names that image files get here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import Classes, list_spellings

_SYNONYMS = {"cat": ("kitten", "kittens"), "dog": ("puppy", "puppies")}  # that folders have for a class
_FILLERS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "only", "class", "set"}) | {
    "data", "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pet", "pets"
}  # fmt: skip
_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_JUNK = frozenset({".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db"})
_MASK = re.compile(r"masks/(animal|head)/(.+)\.png", re.IGNORECASE)
_MAX_STEM = 60  # characters of a source's file name that are kept


@dataclass(frozen=True)
class Labelling:
    """A label (0 or 1, None: none) and, where there is none, the reason and its detail."""

    label: int | None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Layout:
    """How a source's names say which of two classes an image is of."""

    classes: Classes

    @cached_property
    def _spellings(self) -> tuple[list[list[str]], list[list[str]]]:
        """The words of each class's spellings."""
        first, second = ([_split_words(spelling) for spelling in list_spellings(name)] for name in self.classes)
        return first, second

    @cached_property
    def _in_folders(self) -> list[re.Pattern[str]]:
        """What a folder's words, set apart by blanks, hold of each class."""
        synonyms = [[[word] for word in _SYNONYMS.get(name.lower(), ())] for name in self.classes]
        pairs = zip(self._spellings, synonyms, strict=True)
        return [re.compile(rf"(?<!\S)(?:{_join(words + others, ' ')})(?!\S)") for words, others in pairs]

    @cached_property
    def _in_files(self) -> str:
        """What a file's name begins with, a group for each class."""
        return "|".join(f"({_join(words, '[ ._-]*')})" for words in self._spellings)

    @cached_property
    def _numbered(self) -> re.Pattern[str]:
        """Match Kaggle's cat.12.jpg, and the like: cat_12, cat-12, cat12, Cat (12)."""
        return re.compile(rf"(?:{self._in_files})[ ._-]*\(?[0-9]+\)?", re.IGNORECASE)

    @cached_property
    def _named(self) -> re.Pattern[str]:
        return re.compile(rf"(?:{self._in_files})(?![^\W\d_])", re.IGNORECASE)

    def find_label(self, name: str) -> Labelling:
        """Read a member's label from its name in the archive.

        The deepest folder counts whose words are one class's (`cat`, `Cats`, `train_cats`, `0-cat`, `CatImages`) or
        filler. A file name counts when it begins with a class's name. Where the folder contradicts a numbered name
        (`cat.12.jpg`), the reason is `conflicting_label`. Folders called train or validation are ignored: the split
        is ours.
        """
        *folders, file = name.split("/")
        by_folder = next((label for label in map(self._read_folder, reversed(folders)) if label is not None), None)
        numbered, named = self._numbered.match(file), self._named.match(file)
        if by_folder is not None:
            if numbered and _find_group(numbered) != by_folder:
                detail = f"its folder says {self.classes[by_folder]}, its name does not"
                return Labelling(None, "conflicting_label", detail)
            return Labelling(by_folder)
        if match := numbered or named:
            return Labelling(_find_group(match))
        first, second = self.classes
        return Labelling(None, "no_label", f"neither a folder nor the name says {first} or {second}")

    def find_others(self, names: Iterable[str]) -> list[str]:
        """List the classes, other than these two, whose folders of images lie beside theirs."""
        paths = [name.split("/")[:-1] for name in names if _is_image(name)]
        folders = {tuple(path) for path in paths}
        labelled = {path: [self._read_folder(folder) is not None for folder in path] for path in folders}
        parents = {path[:place] for path, flags in labelled.items() for place, flag in enumerate(flags) if flag}
        unlabelled = [path for path, flags in labelled.items() if not any(flags)]
        others = {
            name_folder(path[place]) for path in unlabelled for place in range(len(path)) if path[:place] in parents
        }
        return sorted(others - {""})

    def make_stem(self, name: str, label: str) -> str:
        """Make a file name without suffix: `LABEL.` and the harmless characters of the member's own.

        `train/cat.12.jpg` -> `cat.12`, `PetImages/Cat/12.jpg` -> `cat.12`, `cats/Tom & Jerry.png` -> `cat.Tom_Jerry`.
        """
        stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        stem = re.sub(rf"^(?:{self._in_files})[ ._-]*(?=[0-9(])", "", stem, flags=re.IGNORECASE)
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:_MAX_STEM].strip("._-")
        return f"{label}.{stem or 'image'}"

    def _read_folder(self, folder: str) -> int | None:
        words = " ".join(_split_words(folder))
        rests = [pattern.sub("", words) for pattern in self._in_folders]
        labels = [
            label
            for label, rest in enumerate(rests)
            if rest != words and all(word in _FILLERS or word.isdecimal() for word in rest.split())
        ]
        return labels[0] if len(labels) == 1 else None


def choose_classes(classes: Classes | Literal["auto"], names: Iterable[str]) -> Classes:
    """Choose the two classes of a source: those given, or for `auto` those of its two folders of images, by name.

    Raises:
        InputError: the source has a third class, or for `auto` not two.
    """
    names = [name for name in names if not is_junk(name) and not find_mask(name)]
    if classes != "auto":
        if others := Layout(classes).find_others(names):
            raise _refuse_classes([*classes, *others], "move the images of all but two out of the source")
        return classes
    found = list_classes(names)
    if len(found) > 2:
        raise _refuse_classes(found, "move the images of all but two out of the source")
    if len(found) < 2:
        held = f"one folder of images with a name, {found[0]}" if found else "no folder of images with a name"
        raise InputError(f"data.classes is auto, but there is {held}: give two, or name the classes in data.classes")
    return found[0], found[1]


def list_classes(names: Iterable[str]) -> list[str]:
    """List the classes that folders of images are named by, in order; the singular and the plural are one.

    A folder around others, such as the data set's own, names no class.
    """
    folders = {folder for name in names if _is_image(name) if (folder := _find_named(tuple(name.split("/")[:-1])))}
    around = {folder[:place] for folder in folders for place in range(len(folder))}
    classes: list[str] = []
    for name in sorted({name_folder(folder[-1]) for folder in folders - around}):
        if not any(name in list_spellings(other) for other in classes):
            classes.append(name)
    return classes


def _refuse_classes(names: list[str], advice: str) -> InputError:
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return InputError(f"there are {len(names)} classes, {listed}, and networks here tell two apart: {advice}")


def name_folder(folder: str) -> str:
    """Name the class that a folder stands for, in lower case and without words such as `train`; "" if for none."""
    return "_".join(word for word in _split_words(folder) if word not in _FILLERS and not word.isdecimal())


def _find_named(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Find the way to the deepest of nested folders whose name could be a class's; empty if there is none."""
    while folders and not name_folder(folders[-1]):
        folders = folders[:-1]
    return folders


def is_junk(name: str) -> bool:
    """True for files that macOS or Windows leave behind."""
    *folders, file = name.split("/")
    return "__MACOSX" in folders or file.startswith("._") or file.lower() in _JUNK


def find_mask(name: str) -> tuple[str, str] | None:
    """Find the kind (`animal`, `head`) and the image's name without suffix (`cat/cat.0`) of `masks/KIND/….png`."""
    match = _MASK.fullmatch(name)
    return (match[1].lower(), match[2]) if match else None


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)


def _split_words(text: str) -> list[str]:
    """Split a name into words of letters and numbers, in lower case: CatImages_2 is cat, images, 2."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return re.findall(r"[^\W\d_]+|[0-9]+", spaced.lower())


def _join(spellings: Iterable[list[str]], blank: str) -> str:
    """Make the alternatives of a pattern, the longest first."""
    return "|".join(sorted((blank.join(map(re.escape, words)) for words in spellings), key=len, reverse=True))


def _find_group(match: re.Match[str]) -> int:
    return 0 if match[1] is not None else 1
