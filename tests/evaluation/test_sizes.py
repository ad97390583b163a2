"""Learning curves against data size: parts within parts, as many steps, honest sentences, no vain attempts."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cvd.data.examples.subset import cut_parts, keep_features, keep_share
from cvd.evaluation import sizes
from cvd.evaluation.intervals import bootstrap_accuracies, find_interval
from cvd.report.extras import read_sizes
from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import Params, load_params
from cvd.runtime.params.sections import Variant
from stages import sizes as stage

ROOT = Path(__file__).parent.parent.parent


def make_manifest(n_cats: int, n_dogs: int) -> pd.DataFrame:
    """Training images of either class, with hashes in no order, then two of validation, one of test, one unused."""
    label = [0] * n_cats + [1] * n_dogs + [0, 1, 0, 1]
    split = ["train"] * (n_cats + n_dogs) + ["validation", "validation", "test", "unused"]
    path = [f"{name}/{i}.jpg" for i, name in enumerate(split[:-1])] + [""]
    sha256 = [f"{hash_of:08x}" for hash_of in np.random.default_rng(1).permutation(len(label))]
    return pd.DataFrame({"path": path, "label": label, "split": split, "sha256": sha256})


def make_measured(accuracy: float, n_train: int, gap: float) -> dict[str, Any]:
    return {
        "train": {"accuracy": accuracy + gap, "details": [{"n_images": n_train}]},
        "validation": {"accuracy": accuracy},
        "test": {"accuracy": accuracy, "accuracy_low": accuracy - 0.05, "accuracy_high": accuracy + 0.05},
        "overfitting": {"accuracy_gap": gap},
        "training": {"epochs": 8},
    }


def test_parts_lie_within_larger_ones_and_the_rest_stays() -> None:
    manifest = make_manifest(40, 24)
    parts = {name: keep_share(manifest, share) for name, share in sizes.PARTS.items()}
    kept = {name: set(part.index[part["split"] == "train"]) for name, part in parts.items()}
    assert kept["eighth"] < kept["quarter"] < kept["half"] < set(range(64))
    for name, part in parts.items():
        train = part[part["split"] == "train"]
        assert train["label"].value_counts().to_dict() == {0: 40 * sizes.PARTS[name], 1: 24 * sizes.PARTS[name]}
        pd.testing.assert_frame_equal(part.iloc[64:], manifest.iloc[64:])
        dropped = part[part["split"] == "unused"]
        assert set(dropped["path"]) == {""}
        for label in (0, 1):  # the lowest hashes stay
            assert max(train["sha256"][train["label"] == label]) < min(
                dropped["sha256"][:-1][dropped["label"] == label]
            )
    pd.testing.assert_frame_equal(keep_share(manifest, 1), manifest)
    assert (keep_share(make_manifest(3, 1), 1 / 8)["split"] == "train").sum() == 2


def test_features_of_a_part_are_those_of_its_images(tmp_path: Path) -> None:
    manifest = make_manifest(8, 8)
    whole = tmp_path / "whole"
    whole.mkdir()
    index: dict[str, Any] = {"backbone": {"name": "B"}, "paths": {}, "labels": {}}
    for split in ("train", "validation", "test"):
        rows = manifest[manifest["split"] == split]
        index["paths"][split], index["labels"][split] = rows["path"].tolist(), rows["label"].tolist()
        np.save(whole / f"{split}.npy", rows.index.to_numpy(np.float32)[:, np.newaxis])
    (whole / "index.json").write_text(json.dumps(index))
    part = keep_share(manifest, 1 / 4)
    keep_features(whole, part, tmp_path / "part")
    found = json.loads((tmp_path / "part/index.json").read_text())
    assert found["backbone"] == {"name": "B"}
    for split, n in (("train", 4), ("validation", 2), ("test", 1)):
        rows = part[part["split"] == split]
        assert len(rows) == n
        assert (found["paths"][split], found["labels"][split]) == (rows["path"].tolist(), rows["label"].tolist())
        np.testing.assert_array_equal(np.load(tmp_path / f"part/{split}.npy")[:, 0], rows.index)
    with pytest.raises(InputError, match="lacks other of test: run `dvc repro features`"):
        keep_features(whole, part.replace("test/18.jpg", "other"), tmp_path / "again")


def test_parts_that_are_no_different_are_left_out() -> None:
    assert list(cut_parts(make_manifest(40, 24), sizes.PARTS)) == ["eighth", "quarter", "half"]
    parts = cut_parts(make_manifest(4, 4), sizes.PARTS)  # 1/8 and 1/4 leave one of each class
    assert {name: (part["split"] == "train").sum() for name, part in parts.items()} == {"eighth": 2, "half": 4}
    with pytest.raises(InputError, match="the manifest has 2 training images, too few to leave any out"):
        cut_parts(make_manifest(1, 1), sizes.PARTS)


@pytest.mark.parametrize(
    ("epochs", "n_all", "n_kept", "expected"),
    [
        (42, 600, 75, 315),  # 30 steps an epoch, and 4: 1260 steps, 1260
        (42, 600, 150, 158),  # 8: 1260 steps, 1264
        (3, 20, 1, 3),  # one step an epoch, however few images
        (1, 41, 39, 2),  # 3 steps, and 2: 1.5 epochs, to the even one
    ],
)
def test_fewer_images_take_as_many_steps(epochs: int, n_all: int, n_kept: int, expected: int) -> None:
    block = {"epochs": epochs, "patience": None, "width": 32}
    counts = {"n_all": n_all, "n_kept": n_kept, "batch_size": 20}
    assert sizes.lengthen_training(block, **counts) == {"epochs": expected, "patience": None, "width": 32}
    assert sizes.lengthen_training(block | {"patience": epochs}, **counts)["patience"] == expected


def make_predictions(right: list[bool]) -> pd.DataFrame:
    """A training image and then test images, all dogs, of which a network gets these right."""
    n = len(right)
    logit = [9.0, *(2.0 if each else -2.0 for each in right)]
    return pd.DataFrame({"path": "", "split": ["train"] + n * ["test"], "label": 1, "logit": logit})


def tabulate(accuracies: dict[str, tuple[float, int, float]], n_test: int) -> pd.DataFrame:
    """The table of networks by accuracy, training images and gap; a better one gets right what a worse one does."""
    measured = {part: make_measured(*each) for part, each in accuracies.items()}
    places = np.arange(n_test) / n_test
    predictions = {part: make_predictions(list(places < each[0])) for part, each in accuracies.items()}
    return sizes.tabulate_sizes("baseline", measured, predictions, n_bootstrap=500, seed=3)


def test_table_and_sentences() -> None:
    table = tabulate({"all": (0.8, 80, 0.1), "eighth": (0.5, 10, 0.5), "half": (0.6, 40, 0.3)}, n_test=50)
    assert tuple(table) == sizes.COLUMNS
    assert table["n_images"].tolist() == [10, 40, 80]
    assert table["test"].tolist() == [0.5, 0.6, 0.8]
    assert table["test_low"].tolist() == [0.45, 0.6 - 0.05, 0.75]
    assert table["difference"].tolist() == [0.3, 0.2, 0]
    right = np.arange(50) < np.array([[40], [25], [30]])
    replicates = bootstrap_accuracies(right, n_bootstrap=500, seed=3)
    low, high = find_interval(replicates[:, 0] - replicates[:, 1])
    first, last = table.iloc[0], table.iloc[-1]
    assert (first["difference_low"], first["difference_high"]) == (low, high)
    assert 0 < low < 0.3 < high
    assert last[["difference", "difference_low", "difference_high"]].tolist() == [0, 0, 0]
    assert sizes.describe_sizes(table) == [
        "baseline: 8 times the images (10 to 80) take test accuracy from 50.0% to 80.0%, by +30.0 points "
        f"(95% interval +{100 * low:.1f} to +{100 * high:.1f}: more than luck with the test images explains), "
        "and the gap from 50.0 to 10.0 points.",
        "Each number of images is one training from one seed: the intervals leave out the luck of training.",
    ]
    assert "| baseline | 80 | 8 | 90.0% | 80.0% | 80.0% (75.0% to 85.0%) | +10.0 |" in sizes.render_sizes(table)
    unsure, _ = sizes.describe_sizes(tabulate({"half": (0.6, 10, 0.1), "all": (0.64, 20, 0.1)}, n_test=25))
    assert "from 60.0% to 64.0%, by +4.0 points (95% interval 0.0 to +12.0: it may be luck with the" in unsure


def test_report_refuses_what_is_no_such_table(tmp_path: Path) -> None:
    assert read_sizes(tmp_path) is None
    path = tmp_path / "baseline/sizes.csv"
    path.parent.mkdir()
    table = tabulate({"half": (0.6, 10, 0.1), "all": (0.64, 20, 0.1)}, n_test=25)
    table.to_csv(path, index=False)
    found = read_sizes(tmp_path)
    assert found is not None
    pd.testing.assert_frame_equal(found, table)
    text = path.read_text()
    head, row, _ = text.splitlines()
    for torn in ("", text[:40], f"{head}\n", f"{head}\n{row}\n", text[: text.rindex(",")], "a,b\n1,2\n3,4\n", "\0\1"):
        path.write_text(torn)
        with pytest.raises(InputError, match=r"baseline/sizes.csv is not a table .*`dvc repro -f sizes@baseline`"):
            read_sizes(tmp_path)


def change_params(**sections: dict[str, Any]) -> Params:
    """The project's params.yaml with some values changed."""
    settings = load_params(ROOT / "params.yaml").model_dump(mode="json")
    for section, values in sections.items():
        settings[section] |= values
    return Params.model_validate(settings)


def test_what_is_known_at_once_is_refused_at_once() -> None:
    params = change_params()
    stage.check_training("baseline", params)
    with pytest.raises(InputError, match=r"--variant is 'none': params.yaml has baseline"):
        stage.check_training("none", params)
    with pytest.raises(InputError, match=r"variants.tfrecord.input is .shards., which hold all images"):
        stage.check_training("tfrecord", params)
    with pytest.raises(InputError, match=r"train.strategy is .multi_worker.: the stage sizes trains in one process"):
        stage.check_training("baseline", change_params(train={"strategy": "multi_worker"}))
    manifest = make_manifest(40, 40)
    args = Namespace(variant="baseline", predictions=Path("p.csv"), manifest=Path("m.csv"))
    stage.check_test_images(args, manifest, manifest)
    with pytest.raises(InputError, match=r"p.csv is of other test images than m.csv.*`dvc repro evaluate@baseline`"):
        stage.check_test_images(args, manifest, manifest.replace("test/82.jpg", "other"))


def test_epochs_beyond_what_params_take_are_refused() -> None:
    assert any(getattr(each, "le", None) == sizes.MOST_EPOCHS for each in Variant.model_fields["epochs"].metadata)
    manifest = make_manifest(40, 40)
    half = keep_share(manifest, 1 / 2)
    params = change_params(train={"batch_size": 20})
    longer = params.variants["baseline"].model_dump(mode="json") | {"epochs": 10_000}
    shorter = {**longer, "epochs": 5_000}
    params = change_params(train={"batch_size": 20}, variants={"baseline": shorter})
    assert stage.choose_block("baseline", params, manifest, half)["epochs"] == 10_000
    params = change_params(train={"batch_size": 20}, variants={"baseline": longer})
    with pytest.raises(
        InputError, match=r"epochs is 10000: .* on 40 images take 20,000 epochs, but 10,000 is the most"
    ):
        stage.choose_block("baseline", params, manifest, half)


def test_place_is_emptied_first_and_removed_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "place/left").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), stage.open_place(tmp_path / "place") as place:
        assert place.is_absolute()
        assert not list(place.iterdir())
        (place / "half").mkdir()
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
