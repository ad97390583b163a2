"""Which image goes into which split: stratified, seeded, and as stable as the sizes allow."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from cvd.data.images.manifest import UNUSED
from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import LABELS, SPLITS


def assign_splits(
    labels: Sequence[int], groups: Sequence[str], *, train: int | None, validation: int, test: int, seed: int
) -> list[str]:
    """Assign every image a split: train, validation, test or unused.

    For each split in turn (test, validation, train), free groups are ranked by a hash of seed, split and group.
    The first that fit are taken. A rank depends on nothing else, so that an added image moves few others. A group
    shares a split. Where only groups too large for the room are left, part of one is taken. Its rest is unused.

    Args:
        labels: (n,) 0 or 1.
        groups: (n,) names; near-duplicates have the same.
        train: images per class, None: all that is left.
        validation: images per class.
        test: images per class.
        seed: of the ranks.

    Raises:
        InputError: a class has too few images.
    """
    sizes = {"test": test, "validation": validation, "train": train}
    _check_counts(labels, sizes)
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    splits = [UNUSED] * len(labels)
    for split, size in sizes.items():
        room = [len(labels) if size is None else size] * len(LABELS)
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
            raise _explain_shortage(labels, sizes, why)
    _check_train(labels, splits, sizes)
    return splits


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


def _check_counts(labels: Sequence[int], sizes: Mapping[str, int | None]) -> None:
    asked = sum(size if size is not None else 1 for size in sizes.values())
    for label, name in enumerate(LABELS):
        n = labels.count(label)
        if n == 0:
            other = LABELS[1 - label]
            raise InputError(f"the source has no {name} that can be used, only {other}s: both classes are needed")
        if n < asked:
            raise _explain_shortage(labels, sizes, "")


def _check_train(labels: Sequence[int], splits: Sequence[str], sizes: Mapping[str, int | None]) -> None:
    for label in range(len(LABELS)):
        if ("train", label) not in zip(splits, labels, strict=True):
            raise _explain_shortage(labels, sizes, ", and none is left for train")


def _explain_shortage(labels: Sequence[int], sizes: Mapping[str, int | None], why: str) -> InputError:
    n, name = min((labels.count(label), name) for label, name in enumerate(LABELS))
    asked = " + ".join(f"{split} {'null (the rest)' if sizes[split] is None else sizes[split]}" for split in SPLITS)
    total = sum(size or 0 for size in sizes.values())
    if n < len(SPLITS):
        remedy = f"give a source with at least {len(SPLITS)} images of each class"
    else:
        part = max(1, n // 4)
        smaller = f"-S split.train={n - 2 * part} -S split.validation={part} -S split.test={part}"
        remedy = f"give more images, or ask for fewer, for example `{smaller}`"
    return InputError(
        f"{name} has {n} usable images{why}, but split asks for {asked} = {total} of each class: {remedy}"
    )
