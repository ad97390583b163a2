"""cvd.labels: out-of-fold answers, suspects, and what planting says of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cvd.labels.ranking import STRENGTH, Answers, answer_out_of_fold, find_suspects
from cvd.labels.results import describe_labels, read_features, summarise_labels, tabulate_labels
from cvd.labels.tables import COLUMNS, read_labels
from cvd.runtime.errors import InputError

N = 400


def make_features(n: int = N, *, apart: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two clouds in 20 dimensions of different scales, one dimension constant; true labels; groups of two."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = rng.normal(apart * (2 * labels[:, None] - 1), 1, (n, 20)) * np.geomspace(0.1, 10, 20)
    features[:, 3] = 7
    return features.astype(np.float32), labels, np.array([f"g{i // 2}" for i in range(n)])


def test_answers_are_scikit_learn_s_out_of_fold() -> None:
    features, labels, groups = make_features()
    answers = answer_out_of_fold(features, labels, groups, n_folds=4, seed=3)
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, tol=1e-6))
    folding = StratifiedGroupKFold(4, shuffle=True, random_state=3)
    expected = cross_val_predict(peer, features, labels, groups=groups, cv=folding, method="predict_proba")[:, 1]
    assert np.abs(answers.probabilities - expected).max() < 2e-3


def test_near_duplicates_share_a_fold_and_weights_are_of_the_features_as_they_are() -> None:
    features, labels, groups = make_features()
    answers = answer_out_of_fold(features, labels, groups, n_folds=5, seed=1)
    assert pd.Series(answers.folds).groupby(groups).nunique().max() == 1
    assert sorted(set(answers.folds)) == [0, 1, 2, 3, 4]
    logits = (features * answers.weights[answers.folds]).sum(axis=1) + answers.biases[answers.folds]
    assert 1 / (1 + np.exp(-logits)) == pytest.approx(answers.probabilities, abs=1e-5)


def test_few_images_have_fewer_folds() -> None:
    features, labels, groups = make_features(6)
    assert answer_out_of_fold(features, labels, groups, n_folds=5, seed=1).weights.shape == (3, 20)


def test_exchanged_labels_come_first_and_true_ones_are_left_alone() -> None:
    features, labels, groups = make_features(1000)
    given, planted = labels.copy(), np.arange(1000) % 20 < 2  # one group of ten, and of both classes
    given[planted] = 1 - given[planted]
    answers = answer_out_of_fold(features, given, groups, n_folds=5, seed=1)
    scores, is_suspect = find_suspects(given, answers.probabilities)
    assert scores == pytest.approx(np.where(given == 1, answers.probabilities, 1 - answers.probabilities))
    assert planted[np.argsort(scores)[:100]].mean() > 0.9
    assert planted[is_suspect].mean() > 0.9
    assert is_suspect[planted].mean() > 0.7
    assert find_suspects(labels, np.where(labels == 1, 0.9, 0.1))[1].sum() == 0


def make_rows() -> tuple[pd.DataFrame, Answers]:
    """Ten images, two of them exchanged: one is found, with one that is right."""
    rows = pd.DataFrame({
        "path": [f"{('cat', 'dog')[i % 2]}/{i}.jpg" for i in range(10)],
        "split": ["train"] * 6 + ["validation"] * 2 + ["test"] * 2,
        "label": [0, 1] * 5,
        "planted": [1, 0, 0, 0, 1, 0, 0, 0, 0, 0],
    })  # fmt: skip
    probabilities = np.array([0.96, 0.9, 0.1, 0.9, 0.4, 0.9, 0.1, 0.9, 0.1, 0.05])
    return rows, Answers(probabilities, np.zeros(10, np.int64), np.zeros((1, 2)), np.zeros(1))


def test_summary_counts_by_split_and_class_and_grades_what_was_planted() -> None:
    rows, answers = make_rows()
    table = tabulate_labels(rows, answers)
    assert list(table["path"][:3]) == ["cat/0.jpg", "dog/9.jpg", "cat/4.jpg"]
    assert list(table["verdict"][:2]) == ["suspect"] * 2
    assert set(table["verdict"][2:]) == {"plausible"}
    summary = summarise_labels(table)
    assert (summary["images"], summary["suspects"], summary["agreement"]) == (10, 2, 0.8)
    assert summary["splits"]["train"]["cat"] == {"images": 3, "suspects": 1, "by_chance": 0.6}
    assert summary["splits"]["test"]["dog"] == {"images": 1, "suspects": 1, "by_chance": 0.2}
    planted = summary["planted"]
    assert (planted["labels"], planted["among"], planted["by_chance"]) == (2, 6, 2 / 6)
    # Among the training images the two exchanged ones come first; among all, one true label comes between them.
    assert (planted["average_precision"], planted["recall_at_planted"]) == (1.0, 1.0)
    assert (planted["suspects"], planted["precision"], planted["recall"]) == (1, 1.0, 0.5)
    everywhere = planted["all_splits"]
    assert everywhere["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert (everywhere["recall_at_planted"], everywhere["precision"]) == (0.5, 0.5)
    assert describe_labels(summary) == (
        "2 of 10 labels are suspect; of 2 exchanged on purpose: recall 0.50, average precision 1.000"
    )


def test_without_planting_nothing_is_graded() -> None:
    rows, answers = make_rows()
    assert "planted" not in summarise_labels(tabulate_labels(rows.drop(columns="planted"), answers))


def test_table_is_read_again(tmp_path: Path) -> None:
    table = tabulate_labels(*make_rows())[list(COLUMNS)]
    table.to_csv(tmp_path / "labels.csv", index=False)
    pd.testing.assert_frame_equal(read_labels(tmp_path / "labels.csv"), table)
    with pytest.raises(InputError, match="run `dvc repro labels`"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="has the columns a,b: expected path,label"):
        read_labels(tmp_path / "other.csv")


def test_features_are_read_in_their_order_and_must_be_of_the_manifest(tmp_path: Path) -> None:
    paths = {"train": ["t/b.jpg", "t/a.jpg"], "validation": ["v.jpg"], "test": ["w.jpg"]}
    labels = {"train": [1, 0], "validation": [0], "test": [1]}
    (tmp_path / "index.json").write_text(json.dumps({"paths": paths, "labels": labels}))
    for number, (split, names) in enumerate(paths.items()):
        np.save(tmp_path / f"{split}.npy", np.full((len(names), 3), number, np.float32))
    manifest = pd.DataFrame({"path": ["t/a.jpg", "t/b.jpg", "v.jpg", "w.jpg", ""], "label": [0, 1, 0, 1, 0]})
    manifest["split"] = ["train", "train", "validation", "test", "unused"]
    rows, features = read_features(tmp_path, manifest)
    assert list(rows["path"]) == ["t/b.jpg", "t/a.jpg", "v.jpg", "w.jpg"]
    assert list(rows["label"]) == [1, 0, 0, 1]
    assert features[:, 0].tolist() == [0, 0, 1, 2]
    with pytest.raises(InputError, match="is of other images than the manifest"):
        read_features(tmp_path, manifest[1:])
