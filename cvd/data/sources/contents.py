"""What an archive promises by its names and first bytes: cats and dogs, or why not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cvd.data.archives import layouts
from cvd.data.archives import reading as archives
from cvd.data.archives.formats import RefusedError, find_format
from cvd.data.archives.reading import Member, UnreadableError
from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import LABELS


@contextmanager
def call_it(name: str, path: str | Path) -> Iterator[None]:
    """Name a file in messages as the user knows it, not by its temporary path."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error


def check_labels(archive: str | Path, name: str) -> int:
    """Count an archive's members; refuse it where it promises no cat or no dog: by names, then by first bytes.

    Args:
        archive: a zip.
        name: what to call it in a message.

    Raises:
        InputError: it is unreadable, empty, of one class only, or a class has no image that can be read.
    """
    with call_it(name, archive), archives.open_archive(archive) as members:
        if not members:
            raise InputError(f"{archive} is empty: it holds no files at all")
        wanted = [each for each in members if not layouts.is_junk(each.name)]
        labels = [layouts.find_label(member.name).label for member in wanted]
        _check_names(labels, wanted, archive)
        for label in range(len(LABELS)):
            labelled = [member for member, own in zip(wanted, labels, strict=True) if own == label]
            _check_first_bytes(labelled, LABELS[label], archive)
        return len(members)


def _check_names(labels: Sequence[int | None], members: Sequence[Member], archive: str | Path) -> None:
    missing = [label for label in range(len(LABELS)) if label not in labels]
    if not missing:
        return
    for member in members:
        if member.name.lower().endswith(".zip"):
            raise InputError(f"{archive} holds {member.name}, {_explain_closed_zip(member)}")
    found = "neither cats nor dogs" if len(missing) > 1 else f"only {LABELS[1 - missing[0]]}s, no {LABELS[missing[0]]}s"
    raise InputError(
        f"{archive} holds {found} by the names of its {len(members)} files: "
        "give files named cat.N.jpg and dog.N.jpg, or folders named cat and dog"
    )


def _explain_closed_zip(member: Member) -> str:
    if ".zip/" in member.name.lower():
        return "a zip inside a zip inside a zip, which is not opened: unpack it and give the folder or the inner zip"
    return "which is damaged, encrypted or packed far too densely for photos: unpack it and give the folder"


def _check_first_bytes(members: Sequence[Member], word: str, archive: str | Path) -> None:
    """Refuse members of which none begins like an image; reading ends at the first that does."""
    refusals = []
    for member in members:
        try:
            find_format(member.read(64))
        except (RefusedError, UnreadableError) as refusal:
            refusals.append(f"{member.name} is {refusal}" if isinstance(refusal, RefusedError) else str(refusal))
        else:
            return
    raise InputError(
        f"{archive} holds no image of a {word} that can be read among {len(members)} files so named "
        f"({refusals[0]}): give JPEG, PNG, GIF, BMP, WebP or TIFF images"
    )
