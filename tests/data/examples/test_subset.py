"""A share of the training images: the lowest hashes of each class, within every larger share, whatever is read."""

import numpy as np
import pandas as pd
import pytest

from cvd.data.examples.reading import Examples
from cvd.data.examples.subset import choose_share, take_share


def make_manifest(n_cats: int, n_dogs: int) -> pd.DataFrame:
    """Training images of either class, with hashes in no order, then two of validation, one of test, one unused."""
    label = [0] * n_cats + [1] * n_dogs + [0, 1, 0, 1]
    split = ["train"] * (n_cats + n_dogs) + ["validation", "validation", "test", "unused"]
    path = [f"{name}/{i}.jpg" for i, name in enumerate(split[:-1])] + [""]
    sha256 = [f"{hash_of:08x}" for hash_of in np.random.default_rng(1).permutation(len(label))]
    return pd.DataFrame({"path": path, "label": label, "split": split, "sha256": sha256})


def make_examples(manifest: pd.DataFrame, shape: tuple[int, ...]) -> Examples:
    """The training examples; each holds its index alone."""
    train = manifest[manifest["split"] == "train"]
    values = np.arange(len(train), dtype=np.float32).reshape(-1, *[1 for _ in shape])
    data = np.broadcast_to(values, (len(train), *shape))
    return Examples(list(train["path"]), train["label"].to_numpy(), lambda at: data[at], shape, np.dtype(np.float32))


def test_each_share_lies_within_every_larger_one() -> None:
    manifest = make_manifest(40, 24)
    train = manifest[manifest["split"] == "train"]
    shares = [choose_share(manifest, share) for share in (1 / 8, 1 / 4, 1 / 2, 1)]
    assert shares[0] < shares[1] < shares[2] < shares[3] == set(train["path"])
    for share, chosen in zip((1 / 8, 1 / 4, 1 / 2), shares, strict=False):
        is_chosen = train["path"].isin(chosen)
        assert train["label"][is_chosen].value_counts().to_dict() == {0: 40 * share, 1: 24 * share}
        for label in (0, 1):  # the lowest hashes
            hashes = train["sha256"][train["label"] == label]
            assert max(hashes[is_chosen]) < min(hashes[~is_chosen])
    assert len(choose_share(make_manifest(3, 1), 1 / 8)) == 2, "at least one of each class"


@pytest.mark.parametrize("shape", [(4, 4, 3), (7,)])
def test_examples_of_a_share_are_those_of_its_images(shape: tuple[int, ...]) -> None:
    manifest = make_manifest(8, 8)
    examples = make_examples(manifest, shape)
    part = take_share(examples, manifest, 1 / 4)
    places = [index for index, path in enumerate(examples.paths) if path in choose_share(manifest, 1 / 4)]
    assert len(part) == len(part.paths) == len(part.labels) == 4
    assert part.paths == [examples.paths[place] for place in places]
    assert part.labels.tolist() == [0, 0, 1, 1]
    fetched = part.fetch(np.array([3, 0]))
    assert fetched.shape == (2, *shape)
    assert fetched.reshape(2, -1)[:, 0].tolist() == [places[3], places[0]]


def test_all_images_are_the_examples_themselves() -> None:
    manifest = make_manifest(2, 2)
    examples = make_examples(manifest, (7,))
    assert take_share(examples, manifest, 1.0) is examples
