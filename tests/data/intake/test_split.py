"""cvd.data.intake.assignment."""

from collections import Counter
from functools import partial

import numpy as np
import pytest

from cvd.data.intake.assignment import assign_splits
from cvd.runtime.errors import InputError

assign = partial(assign_splits, classes=("cat", "dog"))


def make_images(n_per_class: int, prefix: str = "") -> tuple[list[int], list[str]]:
    return [0] * n_per_class + [1] * n_per_class, [f"{prefix}{i}" for i in range(2 * n_per_class)]


def count(labels: list[int], splits: list[str]) -> Counter[tuple[str, int]]:
    return Counter(zip(splits, labels, strict=True))


def test_sizes_are_exact_per_class() -> None:
    labels, groups = make_images(100)
    splits = assign(labels, groups, train=50, validation=20, test=10, seed=1)
    for label in (0, 1):
        counts = [count(labels, splits)[split, label] for split in ("train", "validation", "test", "unused")]
        assert counts == [50, 20, 10, 20]


def test_null_takes_the_rest() -> None:
    labels, groups = make_images(100)
    splits = assign(labels, groups, train=None, validation=20, test=10, seed=1)
    assert count(labels, splits) == {
        (s, c): n for s, n in (("train", 70), ("validation", 20), ("test", 10)) for c in (0, 1)
    }


def test_shares_are_of_each_class_and_rounded_down() -> None:
    labels = [0] * 100 + [1] * 57
    groups = [str(i) for i in range(157)]
    splits = assign(labels, groups, train=None, validation=0.1, test=0.29, seed=1)
    assert count(labels, splits) == {
        ("validation", 0): 10, ("validation", 1): 5,  # of 5.7
        ("test", 0): 29, ("test", 1): 16,  # 0.29 * 100 is 28.999... in floating point; of 16.53
        ("train", 0): 61, ("train", 1): 36,
    }  # fmt: skip
    splits = assign(labels, groups, train=0.7, validation=0.1, test=0.2, seed=1)
    assert [count(labels, splits)["unused", label] for label in (0, 1)] == [0, 57 - 39 - 5 - 11]


def test_share_of_few_images_is_at_least_one_and_mixes_with_counts() -> None:
    labels, groups = make_images(9)
    splits = assign(labels, groups, train=0.5, validation=0.1, test=3, seed=1)
    assert [count(labels, splits)[split, 1] for split in ("train", "validation", "test")] == [4, 1, 3]


def test_share_is_the_split_of_that_count() -> None:
    labels, groups = make_images(100)
    by_share = assign(labels, groups, train=0.5, validation=0.2, test=0.1, seed=7)
    assert by_share == assign(labels, groups, train=50, validation=20, test=10, seed=7)


def test_shares_in_a_refusal_come_with_their_counts() -> None:
    labels, groups = make_images(30)
    with pytest.raises(InputError, match=r"train 20 \+ validation 0.25 \(7\) \+ test 10 = 37 of each class"):
        assign(labels, groups, train=20, validation=0.25, test=10, seed=1)


def test_all_of_it_can_be_asked() -> None:
    labels, groups = make_images(80)
    splits = assign(labels, groups, train=40, validation=20, test=20, seed=1)
    assert "unused" not in splits


def test_order_does_not_matter_and_the_seed_does() -> None:
    labels, groups = make_images(100)
    order = np.random.default_rng(0).permutation(200)
    first = assign(labels, groups, train=50, validation=20, test=10, seed=1)
    shuffled = assign([labels[i] for i in order], [groups[i] for i in order], train=50, validation=20, test=10, seed=1)
    assert [first[i] for i in order] == shuffled
    assert first != assign(labels, groups, train=50, validation=20, test=10, seed=2)


@pytest.mark.parametrize("train", [None, 1000])
def test_few_move_when_images_are_added(train: int | None) -> None:
    labels, groups = make_images(2000)
    more_labels, more_groups = make_images(100, "new")
    before = assign(labels, groups, train=train, validation=500, test=500, seed=1)
    after = assign(labels + more_labels, groups + more_groups, train=train, validation=500, test=500, seed=1)
    moved = sum(a != b for a, b in zip(before, after[: len(before)], strict=True))
    # A quarter of 200 new ones lands in test, another in validation, and puts one out; a bounded `train` loses more.
    assert 0 < moved < (130 if train is None else 330)
    came_into_test = sum(a != "test" == b for a, b in zip(before, after[: len(before)], strict=True))
    assert came_into_test == 0


def test_groups_never_straddle() -> None:
    labels = [0, 1] * 300
    groups = [f"{i // 5}" for i in range(600)]  # of five, both classes
    splits = assign(labels, groups, train=150, validation=75, test=70, seed=3)
    by_group: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        by_group.setdefault(group, set()).add(split)
    assert all(len(splits - {"unused"}) <= 1 for splits in by_group.values())
    assert count(labels, splits)["test", 0] == count(labels, splits)["test", 1] == 70


def test_a_large_group_is_parted_rather_than_straddled() -> None:
    labels = [0] * 10 + [1] * 10
    groups = ["same"] * 5 + [f"c{i}" for i in range(5)] + [f"d{i}" for i in range(10)]
    splits = assign(labels, groups, train=3, validation=2, test=1, seed=1)
    assert len({split for split in splits[:5] if split != "unused"}) <= 1
    assert count(labels, splits)["train", 0] == 3


def test_pairs_fill_odd_sizes() -> None:
    labels = [0] * 20 + [1] * 20
    groups = [f"{i // 2}" for i in range(40)]
    splits = assign(labels, groups, train=3, validation=3, test=3, seed=1)
    used = {group for group, split in zip(groups, splits, strict=True) if split != "unused"}
    assert sum(group in used and split == "unused" for group, split in zip(groups, splits, strict=True)) == 6
    assert count(labels, splits)["train", 1] == 3


def test_too_few_names_class_counts_and_cure() -> None:
    labels = [0] * 30 + [1] * 50
    groups = [str(i) for i in range(80)]
    with pytest.raises(InputError) as caught:
        assign(labels, groups, train=20, validation=10, test=10, seed=1)
    text = str(caught.value)
    assert "cat has 30 usable images" in text
    assert "train 20 + validation 10 + test 10 = 40" in text
    assert "-S split.train=16 -S split.validation=7 -S split.test=7" in text
    assert "\n" not in text
    assign(labels, groups, train=16, validation=7, test=7, seed=1)


def test_null_needs_one_for_train() -> None:
    labels, groups = make_images(20)
    with pytest.raises(InputError, match=r"null \(the rest\)"):
        assign(labels, groups, train=None, validation=10, test=10, seed=1)


def test_one_class_only() -> None:
    with pytest.raises(InputError, match="no dog that can be used, only cats"):
        assign([0] * 9, list("abcdefghi"), train=1, validation=1, test=1, seed=1)


def test_near_duplicates_alone_cannot_fill_three_splits() -> None:
    labels, _ = make_images(20)
    with pytest.raises(InputError, match="near-duplicates, which must share a split, leave validation"):
        assign(labels, ["same"] * 40, train=5, validation=5, test=5, seed=1)
