"""Metrics against hand-computed values, brute force, and scikit-learn."""

import json
from math import log, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_expit
from scipy.stats import binomtest
from sklearn import metrics as metrics_of_scikit_learn
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from cvd.evaluation import measures, statistics
from cvd.evaluation.overfitting import (
    find_best_epoch,
    find_onset,
    measure_overfitting,
    read_history,
    smooth_losses,
    tabulate_curves,
)
from cvd.evaluation.statistics import measure_ece, tabulate_reliability, wilson_interval
from cvd.runtime.errors import InputError
from cvd.runtime.files import render_json


def make_rows(n: int = 30, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    split = np.repeat(["test", "train", "validation"], n)
    label = np.tile([0, 1], 3 * n)[: 3 * n]
    return pd.DataFrame(
        {
            "path": [f"{s}/{('cat', 'dog')[label[i]]}/{i}.jpg" for i, s in enumerate(split)],
            "split": split,
            "label": label,
            "x": rng.random(3 * n),
        }
    )


def make_predictions(n: int = 30, seed: int = 0) -> pd.DataFrame:
    rows = make_rows(n, seed)
    logits = np.random.default_rng(seed).normal(2.0 * rows["label"] - 1, 2).astype(np.float32)
    return measures.tabulate_predictions(rows, logits)


def make_history(val_loss: list[float]) -> pd.DataFrame:
    n = len(val_loss)
    return pd.DataFrame(
        {
            "epoch": range(1, n + 1),
            "loss": 0.5,
            "accuracy": 0.9,
            "val_loss": val_loss,
            "val_accuracy": 0.7,
            "learning_rate": 1e-4,
        }
    )


FIGURES = (
    "n_images", "accuracy", "accuracy_low", "accuracy_high", "loss", "auc", "average_precision", "brier", "ece",
    "confusion", "classes", "threshold", "accuracy_at_threshold",
)  # fmt: skip
EVALUATE = {"calibration_bins": 10, "onset_tolerance": 0.05, "notable_gap": 0.05, "learned_accuracy": 0.8}
TRAINING = {"epochs": 5, "saved_epoch": 5, "precision": "float32", "parameters": 10, "other": 1}


def test_wilson_by_hand() -> None:
    # 8 of 10: z = 1.959964; middle (0.8 + z^2/20) / (1 + z^2/10), half-width as in the formula.
    z = 1.959963984540054
    middle = (0.8 + z * z / 20) / (1 + z * z / 10)
    half = z / (1 + z * z / 10) * sqrt(0.8 * 0.2 / 10 + z * z / 400)
    low, high = wilson_interval(8, 10)
    assert (float(low), float(high)) == pytest.approx((middle - half, middle + half), abs=1e-15)
    assert (float(low), float(high)) == pytest.approx((0.4901625, 0.9433178), abs=1e-7)


def test_wilson_at_the_ends_stays_within_bounds() -> None:
    low, high = wilson_interval(np.array([0, 50]), np.array([50, 50]))
    assert low[0] == 0
    assert 0 < high[0] < 0.08
    assert high[1] == 1
    assert 0.92 < low[1] < 1


def test_wilson_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    for truth, n in ((0.7, 400), (0.97, 400), (0.5, 100)):
        low, high = wilson_interval(rng.binomial(n, truth, 4000), np.full(4000, n))
        assert 0.93 < ((low <= truth) & (truth <= high)).mean() < 0.975


def test_auc_counts_pairs() -> None:
    test = make_predictions(40).query("split == 'test'")
    cats, dogs = (test.loc[test["label"] == label, "logit"].to_numpy() for label in (0, 1))
    pairs = np.subtract.outer(dogs, cats)
    brute = ((pairs > 0).sum() + 0.5 * (pairs == 0).sum()) / pairs.size
    assert measures.measure_split(test, threshold=0.5, n_bins=10)["auc"] == pytest.approx(brute, abs=1e-12)
    roc = measures.tabulate_test(make_predictions(40), calibration_bins=10)["roc"]
    assert np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"]) == pytest.approx(brute, abs=1e-12)
    assert roc["threshold"].between(0, 1).all()


def test_ece_by_hand() -> None:
    labels, probabilities = np.array([0, 1, 1, 1]), np.array([0.1, 0.4, 0.6, 0.9])
    # Two bins: (0.1, 0.4) hold 1 dog of 2 at 0.25; (0.6, 0.9) hold 2 of 2 at 0.75.
    assert measure_ece(labels, probabilities, 2) == pytest.approx(0.5 * 0.25 + 0.5 * 0.25)


def test_reliability_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    probabilities = np.concatenate([rng.random(500), np.linspace(0, 1, 11)])
    labels = (rng.random(len(probabilities)) < probabilities).astype(int)
    table = tabulate_reliability(labels, probabilities, 10)
    observed, predicted = calibration_curve(labels, probabilities, n_bins=10)
    np.testing.assert_allclose(table["observed"], observed)
    np.testing.assert_allclose(table["predicted"], predicted)
    assert table["n"].sum() == len(labels)
    assert ((table["observed_low"] <= table["observed"]) & (table["observed"] <= table["observed_high"])).all()


def test_loss_is_exact_where_probabilities_round() -> None:
    labels, logits = np.array([0, 1, 1]), np.array([0.3, -1.2, 2.0])
    assert measures.measure_loss(labels, logits) == pytest.approx(
        log_loss(labels, 1 / (1 + np.exp(-logits))), abs=1e-14
    )
    assert measures.measure_loss(np.array([0]), np.array([50.0])) == 50.0
    assert measures.measure_loss(np.array([1]), np.array([0.0])) == pytest.approx(log(2))


def test_threshold_is_the_best_of_all_and_close_to_a_half() -> None:
    rng = np.random.default_rng(3)
    probabilities = np.round(rng.random(60), 2)
    labels = (rng.random(60) < probabilities**3).astype(int)  # overconfident: the best threshold is not 0.5
    chosen = measures.choose_threshold(labels, probabilities)
    scores = [((probabilities > t) == (labels == 1)).mean() for t in np.linspace(0.0025, 0.9975, 400)]
    assert ((probabilities > chosen) == (labels == 1)).mean() == pytest.approx(max(scores))
    assert chosen > 0.55
    assert measures.choose_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.7, 0.9])) == 0.5
    assert measures.choose_threshold(np.array([0, 0, 1]), np.array([0.1, 0.7, 0.8])) == pytest.approx(0.75)


def test_confusion_and_classes_by_hand() -> None:
    frame = pd.DataFrame({"split": "test", "label": [0, 0, 0, 1, 1], "logit": [-1.0, -2.0, 3.0, 1.0, -1.0]})
    paths = [f"{('cat', 'dog')[label]}/1.jpg" for label in frame["label"]]
    frame = frame.assign(path=paths, probability=1 / (1 + np.exp(-frame["logit"])))
    found = measures.measure_split(frame, threshold=0.5, n_bins=10)
    assert found["confusion"] == [[2, 1], [1, 1]]
    assert found["accuracy"] == 0.6
    cat, dog = found["classes"]
    assert (cat["precision"], cat["recall"]) == pytest.approx((2 / 3, 2 / 3))
    assert (dog["precision"], dog["recall"]) == pytest.approx((1 / 2, 1 / 2))
    confusion = measures.tabulate_test(frame, calibration_bins=2)["confusion"]
    assert confusion.value_counts().to_dict() == {
        ("cat", "cat"): 2, ("cat", "dog"): 1, ("dog", "cat"): 1, ("dog", "dog"): 1,
    }  # fmt: skip


def test_everything_is_recomputable_from_the_file(tmp_path: Path) -> None:
    """With pandas, scikit-learn and SciPy alone, from the CSV, to the last digit of the JSON."""
    predictions = make_predictions(200, seed=4)
    predictions.to_csv(tmp_path / "v.csv", index=False)
    pd.testing.assert_frame_equal(predictions, measures.read_predictions(tmp_path / "v.csv"), check_exact=True)
    text = render_json(
        measures.evaluate_variant(
            measures.read_predictions(tmp_path / "v.csv"),
            make_history([0.6]),
            TRAINING,
            **EVALUATE,
        )
    )
    metrics = json.loads(text)
    table = pd.read_csv(tmp_path / "v.csv")
    threshold = metrics["test"]["details"][0]["threshold"]
    for split, rows in table.groupby("split"):
        found = metrics[str(split)] | metrics[str(split)]["details"][0]
        assert set(found) >= set(FIGURES), f"{split} has it all"
        labels, logits, probabilities = rows["label"], rows["logit"], rows["probability"]
        right = (logits > 0) == labels
        interval = binomtest(int(right.sum()), len(rows)).proportion_ci(method="wilson")
        observed, predicted = calibration_curve(labels, probabilities, n_bins=10)
        in_bins = np.histogram(probabilities, np.linspace(0, 1, 11))[0]
        precision, recall, *_ = metrics_of_scikit_learn.precision_recall_fscore_support(labels, logits > 0)
        assert {name: found[name] for name in FIGURES} == {
            "n_images": 200,
            "accuracy": metrics_of_scikit_learn.accuracy_score(labels, logits > 0),
            "accuracy_low": interval.low,
            "accuracy_high": interval.high,
            "loss": -log_expit((2 * labels - 1) * logits).mean(),
            "auc": metrics_of_scikit_learn.roc_auc_score(labels, logits),
            "average_precision": metrics_of_scikit_learn.average_precision_score(labels, logits),
            "brier": metrics_of_scikit_learn.brier_score_loss(labels, probabilities),
            "ece": np.average(np.abs(observed - predicted), weights=in_bins[in_bins > 0]),
            "confusion": metrics_of_scikit_learn.confusion_matrix(labels, logits > 0).tolist(),
            "classes": [
                {"label": name, "precision": precision[i], "recall": recall[i]} for i, name in enumerate(("cat", "dog"))
            ],
            "threshold": threshold,
            "accuracy_at_threshold": metrics_of_scikit_learn.accuracy_score(labels, probabilities > threshold),
        }
        assert found["loss"] == pytest.approx(metrics_of_scikit_learn.log_loss(labels, probabilities), abs=1e-12)
    # The text of a logit is the shortest that gives the network's float32.
    texts = [line.split(",")[3] for line in (tmp_path / "v.csv").read_text().splitlines()[1:]]
    assert all(str(np.float32(each)) == each for each in texts)


@pytest.mark.parametrize("n_scores", [1, 2, 3, 7, 1000])
def test_roc_and_average_precision_with_equal_scores_agree_with_scikit_learn(n_scores: int) -> None:
    rng = np.random.default_rng(n_scores)
    labels, scores = np.append(rng.integers(0, 2, 98), [0, 1]), rng.integers(0, n_scores, 100) / 8
    curve = statistics.find_roc(labels, scores)
    for ours, peers in zip(curve, metrics_of_scikit_learn.roc_curve(labels, scores), strict=True):
        np.testing.assert_array_equal(ours, peers)
    peer = metrics_of_scikit_learn.average_precision_score(labels, scores)
    assert statistics.find_average_precision(labels, scores) == pytest.approx(peer, abs=1e-15)


def test_threshold_is_chosen_on_validation_alone() -> None:
    predictions = make_predictions(60, seed=7)
    others = predictions["split"] != "validation"
    changed = predictions.assign(
        logit=predictions["logit"].where(~others, -predictions["logit"]),
        probability=predictions["probability"].where(~others, 1 - predictions["probability"]),
    )
    found = [
        measures.evaluate_variant(each, make_history([0.6]), TRAINING, **EVALUATE) for each in (predictions, changed)
    ]
    thresholds = {each[split]["details"][0]["threshold"] for each in found for split in measures.SPLITS}
    assert len(thresholds) == 1
    assert found[0]["test"]["accuracy"] != found[1]["test"]["accuracy"]


def test_contract_of_the_metrics() -> None:
    metrics = measures.evaluate_variant(make_predictions(), make_history([0.6] * 5), TRAINING, **EVALUATE)
    shown = {
        section: {name for name, value in figures.items() if not isinstance(value, list)}
        for section, figures in metrics.items()
    }
    assert shown == {  # what DVC's tables have room for
        "train": {"accuracy", "loss"},
        "validation": {"accuracy", "loss"},
        "test": {"accuracy", "accuracy_low", "accuracy_high", "loss", "auc", "ece"},
        "overfitting": {"state", "accuracy_gap", "loss_gap", "best_epoch", "onset_epoch"},
        "training": {"epochs", "precision", "parameters"},
    }
    rest = {"n_images", "average_precision", "brier", "threshold", "accuracy_at_threshold"}
    assert {section: set(figures["details"][0]) for section, figures in metrics.items()} == {
        "train": rest | {"accuracy_low", "accuracy_high", "auc", "ece"},
        "validation": rest | {"accuracy_low", "accuracy_high", "auc", "ece"},
        "test": rest,
        "overfitting": {"accuracy_area", "loss_area", "cause", "is_falling", "gap_low"},
        "training": {"saved_epoch", "other"},
    }
    assert {"confusion", "classes"} < set(metrics["test"])
    assert metrics["training"]["details"] == [{"saved_epoch": 5, "other": 1}]
    gap = metrics["overfitting"]
    assert gap["accuracy_gap"] == metrics["train"]["accuracy"] - metrics["validation"]["accuracy"]
    assert gap["loss_gap"] == metrics["validation"]["loss"] - metrics["train"]["loss"]


@pytest.mark.parametrize(
    ("val_loss", "best", "onset"),
    [
        ([0.7, 0.6, 0.5, 0.6, 0.7, 0.8], 3, 3),  # rises for good
        ([0.7, 0.6, 0.5, 0.4], 4, None),  # still falling
        ([0.7, 0.5, 0.51, 0.52, 0.51], 2, None),  # level, within 5%
        ([0.7, 0.5, 0.8, 0.9, 0.505, 0.9], 2, None),  # came back near the end
        ([0.5, 0.9, 0.9], 1, None),  # only two epochs after the best: too few to call it a trend
        ([0.5, 0.5, 0.9, 0.9, 0.9], 1, 2),  # of equals the best is the first, the onset the last
        # 20 epochs: a lucky one near the end of noise is no onset, nor is one in the middle of a fall
        ([0.7, 0.6] + [0.5, 0.52] * 7 + [0.3, 0.5, 0.52, 0.5], 17, None),
        ([0.8 - 0.03 * i for i in range(10)] + [0.2] + [0.5 - 0.02 * i for i in range(9)], 11, None),
        # 20 epochs: one unlucky epoch hides no rise, nor does a lucky one within it
        ([0.7, 0.6, 0.5, 0.5] + [0.5 + 0.05 * i for i in range(12)] + [0.5, 1.1, 1.2, 1.3], 3, 5),
        ([0.7, float("nan"), 0.5, 0.6, float("nan"), 0.6], 3, 3),  # no number counts as risen
    ],
)
def test_best_epoch_and_onset(val_loss: list[float], best: int, onset: int | None) -> None:
    assert find_best_epoch(val_loss) == best
    assert find_onset(val_loss, tolerance=0.05) == onset


def test_onset_is_not_found_in_noise_and_is_found_in_a_rise() -> None:
    """Seeded simulation of 44 epochs, of noise as large as that of a few hundred validation images."""
    rng, epochs = np.random.default_rng(0), np.arange(44)
    falling = 0.69 - 0.2 / (1 + np.exp(-(epochs - 30) / 4))
    rising = 0.69 - 0.05 * np.exp(-(((epochs - 14) / 8) ** 2)) + 0.03 * np.maximum(0, epochs - 15)
    noise = rng.normal(0, 0.03, (300, 44))
    false = [find_onset(falling + each, tolerance=0.05) for each in noise]
    true = [find_onset(rising + each, tolerance=0.05) for each in noise]
    assert sum(each is not None for each in false) <= 0.03 * 300
    found = [each for each in true if each is not None]
    assert len(found) == 300
    assert 11 <= np.median(found) <= 17


def test_smoothing_by_hand() -> None:
    losses = [5, 1, 4, 2, 3, *range(10, 25)]  # 20 epochs: one on either side
    smooth = smooth_losses(losses)
    assert smooth[:6].tolist() == [3, 4, 2, 3, 3, 10]
    assert smooth[-1] == 23.5
    assert smooth_losses([3, 1, 2]).tolist() == [3, 1, 2]


def test_curves_and_their_area() -> None:
    history = make_history([0.6, 0.7, 0.9])
    found = measure_overfitting(history, tolerance=0.05)
    assert found["loss_area"] == pytest.approx((0.1 + 0.2) / 2 + (0.2 + 0.4) / 2)
    assert found["accuracy_area"] == pytest.approx(0.2 * 2)
    best, last = found["curve_gaps"]
    assert (best["epoch"], best["loss_gap"]) == (1, pytest.approx(0.1))
    assert (last["epoch"], last["loss_gap"], last["accuracy_gap"]) == (3, pytest.approx(0.4), pytest.approx(0.2))
    assert (best["validation_loss"], last["validation_loss"]) == (0.6, 0.9)
    assert [each["validation_accuracy"] for each in (best, last)] == history["val_accuracy"].tolist()[::2]
    assert list(tabulate_curves(history)) == [
        "epoch",
        "loss",
        "val_loss",
        "accuracy",
        "val_accuracy",
        "accuracy_gap",
        "loss_gap",
    ]


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"predictions/x.csv is missing: make it with `dvc repro evaluate@x`"):
        measures.read_predictions(Path("predictions/x.csv"))
    (tmp_path / "x.csv").write_text("path,split\na,test\n")
    with pytest.raises(InputError, match="expected path,split,label,logit,probability"):
        measures.read_predictions(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(InputError, match=r"x.csv is not a table of evaluate@x: make it again with `dvc repro -f"):
        measures.read_predictions(tmp_path / "x.csv")
    with pytest.raises(InputError, match="make it with `dvc repro train@x`"):
        read_history(tmp_path / "x.history.csv")
    (tmp_path / "x.history.csv").write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(InputError, match="lacks accuracy, val_loss, val_accuracy"):
        read_history(tmp_path / "x.history.csv")
    rows = make_rows(2)
    with pytest.raises(InputError, match=r"the logit of test/dog/1.jpg is not a number"):
        measures.tabulate_predictions(rows, [0, np.nan, 0, 0, 0, 0])
    with pytest.raises(InputError, match="the training diverged"):
        find_best_epoch([float("nan")] * 3)
    one_class = make_predictions().query("split != 'test' or label == 1")
    with pytest.raises(InputError, match=r"split test holds the labels \[1\]"):
        measures.evaluate_variant(one_class, make_history([0.6]), TRAINING, **EVALUATE)
