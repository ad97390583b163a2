"""Which image goes into which split: stratified, seeded, and as stable as the sizes allow."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from cvd.data.images.manifest import UNUSED
from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import SPLITS, Classes, pluralise


def assign_splits(
    labels: Sequence[int],
    groups: Sequence[str],
    *,
    classes: Classes,
    train: float | None,
    validation: float,
    test: float,
    seed: int,
) -> list[str]:
    """Assign every image a split: train, validation, test or unused.

    For each split in turn (test, validation, train), free groups are ranked by a hash of seed, split and group.
    The first that fit are taken. A rank depends on nothing else, so that an added image moves few others. A group
    shares a split. Where only groups too large for the room are left, part of one is taken. Its rest is unused.

    Args:
        labels: (n,) 0 or 1.
        groups: (n,) names; near-duplicates have the same.
        classes: the names of both, for messages.
        train: images per class; below 1 a share of each class' usable ones, rounded down, at least one; None: all
            that is left.
        validation: likewise, without None.
        test: likewise, without None.
        seed: of the ranks.

    Raises:
        InputError: a class has too few images.
    """
    sizes = {"test": test, "validation": validation, "train": train}
    _check_counts(labels, sizes, classes)
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    splits = [UNUSED] * len(labels)
    for split, size in sizes.items():
        room = [len(labels) if size is None else _count_images(size, labels.count(i)) for i in (0, 1)]
        for may_part in (False, True):
            for group in _order_groups(members, seed, split):
                taken = _choose(members[group], labels, room)
                if taken and (may_part or len(taken) == len(members[group])):
                    del members[group]
                    for i in taken:
                        splits[i] = split
                        room[labels[i]] -= 1
                if not any(room):
                    break
        if size is not None and any(room):
            why = f", and near-duplicates, which must share a split, leave {split} {max(room)} short"
            raise _explain_shortage(labels, sizes, classes, why)
    _check_train(labels, splits, sizes, classes)
    return splits


def _count_images(size: float, n_usable: int) -> int:
    """Count what a size asks of a class; a share counts as it is written: 0.29 of 100 are 29."""
    return int(size) if size >= 1 else max(1, int(Fraction(str(size)) * n_usable))


def _order_groups(groups: Iterable[str], seed: int, split: str) -> list[str]:
    return sorted(groups, key=lambda group: hashlib.sha256(f"{seed}/{split}/{group}".encode()).digest())


def _choose(indices: Sequence[int], labels: Sequence[int], room: Sequence[int]) -> list[int]:
    """Choose the first of a group's images that fit into each class's room."""
    left = list(room)
    chosen = []
    for i in indices:
        if left[labels[i]]:
            left[labels[i]] -= 1
            chosen.append(i)
    return chosen


def _check_counts(labels: Sequence[int], sizes: Mapping[str, float | None], classes: Classes) -> None:
    for label, name in enumerate(classes):
        n = labels.count(label)
        if n == 0:
            other = pluralise(classes[1 - label])
            raise InputError(f"the source has no {name} that can be used, only {other}: both classes are needed")
        if n < sum(1 if size is None else _count_images(size, n) for size in sizes.values()):
            raise _explain_shortage(labels, sizes, classes, "")


def _check_train(
    labels: Sequence[int], splits: Sequence[str], sizes: Mapping[str, float | None], classes: Classes
) -> None:
    for label in (0, 1):
        if ("train", label) not in zip(splits, labels, strict=True):
            raise _explain_shortage(labels, sizes, classes, ", and none is left for train")


def _explain_shortage(
    labels: Sequence[int], sizes: Mapping[str, float | None], classes: Classes, why: str
) -> InputError:
    n, name = min((labels.count(label), name) for label, name in enumerate(classes))
    counts = {split: None if size is None else _count_images(size, n) for split, size in sizes.items()}
    notes = {split: f" ({counts[split]})" if 0 < (size or 1) < 1 else "" for split, size in sizes.items()}
    asked = " + ".join(f"{split} {sizes[split] or 'null (the rest)'}{notes[split]}" for split in SPLITS)
    total = sum(count or 0 for count in counts.values())
    if n < len(SPLITS):
        remedy = f"give a source with at least {len(SPLITS)} images of each class"
    else:
        part = max(1, n // 4)
        smaller = f"-S split.train={n - 2 * part} -S split.validation={part} -S split.test={part}"
        remedy = f"give more images, or ask for fewer, for example `{smaller}`"
    return InputError(
        f"{name} has {n} usable images{why}, but split asks for {asked} = {total} of each class: {remedy}"
    )
