"""Differences between variants: tests against SciPy and by hand, coverage by simulation, sentences."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest

from cvd.evaluation import comparison, statistics, tables, verdict
from cvd.evaluation.figures import Metrics
from cvd.evaluation.measures import evaluate_variant, tabulate_predictions
from cvd.evaluation.overfitting import tabulate_curves
from cvd.runtime.errors import InputError
from cvd.runtime.files import render_json
from cvd.runtime.params.loading import load_params

ROOT = Path(__file__).parents[2]
EVALUATE = {"calibration_bins": 10, "onset_tolerance": 0.05, "notable_gap": 0.05, "learned_accuracy": 0.8}
TRAINING = {"epochs": 4, "saved_epoch": 4, "precision": "float32", "parameters": 10}
HISTORY = pd.DataFrame(
    {"epoch": range(1, 5), "loss": 0.4, "accuracy": 0.8, "val_loss": [0.6, 0.5, 0.5, 0.6], "val_accuracy": 0.7}
)
CLASSES = ("cat", "dog")


def make_results(skills: dict[str, float], n: int = 200) -> tuple[dict[str, pd.DataFrame], dict[str, Metrics]]:
    """Predictions and metrics of variants of different skill; equal skills give equal logits."""
    split = np.repeat(["test", "train", "validation"], n)
    rows = pd.DataFrame(
        {"path": [f"{CLASSES[i % 2]}/{i}.jpg" for i in range(3 * n)], "split": split, "label": np.arange(3 * n) % 2}
    )
    predictions = {}
    for name, skill in skills.items():
        noise = np.random.default_rng(round(1000 * skill)).normal(size=3 * n)
        predictions[name] = tabulate_predictions(rows, (2 * rows["label"] - 1) * skill + noise)
    metrics = {name: evaluate_variant(frame, HISTORY, TRAINING, **EVALUATE) for name, frame in predictions.items()}
    return predictions, metrics


def test_mcnemar_agrees_with_the_binomial_test() -> None:
    for first, second in ((10, 2), (0, 6), (7, 7), (120, 80)):
        peer = binomtest(min(first, second), first + second, 0.5).pvalue
        assert statistics.find_mcnemar_p(first, second) == pytest.approx(peer, rel=1e-12)
    # 0 of 6: two-sided, twice one half to the sixth.
    assert statistics.find_mcnemar_p(0, 6) == pytest.approx(2 * 0.5**6)
    assert statistics.find_mcnemar_p(0, 0) == 1


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.4 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.4, made non-decreasing.
    np.testing.assert_allclose(statistics.adjust_holm([0.03, 0.01, 0.4, 0.02]), [0.06, 0.04, 0.4, 0.06])
    np.testing.assert_allclose(statistics.adjust_holm([0.9, 0.8]), [1, 1])
    assert statistics.adjust_holm([]).shape == (0,)


def test_bootstrap_is_seeded_paired_and_of_the_right_width() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((2, 400)) < np.array([[0.7], [0.8]])
    draws = statistics.bootstrap_accuracies(right, n_bootstrap=3000, seed=1)
    assert draws.shape == (3000, 2)
    np.testing.assert_array_equal(draws, statistics.bootstrap_accuracies(right, n_bootstrap=3000, seed=1))
    assert not np.array_equal(draws, statistics.bootstrap_accuracies(right, n_bootstrap=3000, seed=2))
    d = right[1].astype(float) - right[0]
    assert (draws[:, 1] - draws[:, 0]).mean() == pytest.approx(d.mean(), abs=0.002)
    assert (draws[:, 1] - draws[:, 0]).std() == pytest.approx(d.std() / np.sqrt(400), rel=0.05)
    same = statistics.bootstrap_accuracies(right[[0, 0]], n_bootstrap=100, seed=1)
    np.testing.assert_array_equal(same[:, 0], same[:, 1])


def test_interval_of_a_difference_covers_the_truth() -> None:
    """Seeded simulation: of 95% intervals about 95% hold the true difference, 7 points, of correlated networks."""
    rng = np.random.default_rng(5)
    n_runs, n = 300, 300
    hits = 0
    for run in range(n_runs):
        # Right: both .62, only first .08, only second .15, neither .15.
        kind = rng.choice(4, size=n, p=[0.62, 0.08, 0.15, 0.15])
        right = np.array([kind <= 1, (kind == 0) | (kind == 2)])
        draws = statistics.bootstrap_accuracies(right, n_bootstrap=200, seed=run)
        low, high = statistics.find_interval(draws[:, 1] - draws[:, 0])
        hits += low <= 0.07 <= high
    assert 0.915 <= hits / n_runs <= 0.98


def cover_exactly(n: int, p_first: float, p_second: float) -> float:
    """How often the interval holds the true difference, over all outcomes (only first, only second) of n images."""
    covered = 0.0
    for m in range(n + 1):
        share = binom.pmf(m, n, p_first + p_second)
        if share > 1e-7:
            k = np.arange(m + 1)
            low, high = statistics.tango_interval(m - k, k, n)
            holds = (low <= p_second - p_first + 1e-12) & (p_second - p_first - 1e-12 <= high)
            covered += share * float(binom.pmf(k, m, p_second / (p_first + p_second))[holds].sum())
    return covered


@pytest.mark.parametrize("n", [300, 600])
@pytest.mark.parametrize(("p_first", "p_second"), [(0.025, 0.025), (0.0025, 0.0475), (0.05, 0.15), (0.1, 0.3)])
def test_interval_of_a_change_covers_the_truth(n: int, p_first: float, p_second: float) -> None:
    """No luck of a simulation is in it: 94.5% at least, half a point below what is promised."""
    assert 0.945 <= cover_exactly(n, p_first, p_second) <= 0.96


def test_interval_of_a_change_covers_it_in_simulated_test_sets() -> None:
    """From answers to interval: 2,000 test sets, so three standard errors are 1.5 points."""
    # Right: both, only first, only second, neither.
    outcomes = np.random.default_rng(8).multinomial(450, [0.62, 0.08, 0.15, 0.15], size=2000)
    low, high = statistics.tango_interval(outcomes[:, 1], outcomes[:, 2], 450)
    assert ((low <= 0.07) & (high >= 0.07)).mean() >= 0.95 - 0.015


def test_interval_of_a_change_solves_tangos_equation() -> None:
    """Against likelihoods maximised by SciPy, McNemar's statistic at no difference, and closed forms."""

    def score(delta: float, c: int, b: int, n: int) -> float:
        def loss(q: float) -> float:
            return -(b * np.log(q + delta) + c * np.log(q) + (n - b - c) * np.log(1 - 2 * q - delta))

        bounds = (max(0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12)
        q = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        return (b - c - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta)))

    for c, b, n in ((20, 29, 600), (3, 17, 300), (60, 12, 300)):
        low, high = statistics.tango_interval(c, b, n)
        assert score(float(low), c, b, n) == pytest.approx(1.959964, abs=1e-4)
        assert score(float(high), c, b, n) == pytest.approx(-1.959964, abs=1e-4)
        mirrored = statistics.tango_interval(b, c, n)
        np.testing.assert_allclose(mirrored, (-high, -low), atol=1e-12)
    low, high = statistics.tango_interval(0, 0, 100)
    z = 1.959964
    assert (low, high) == pytest.approx((-(z**2) / (100 + z**2), z**2 / (100 + z**2)), abs=1e-6)
    # It leaves out no difference exactly where (b - c)^2 / (b + c) exceeds z^2.
    for b in range(20, 60):
        low, _ = statistics.tango_interval(20, b, 600)
        assert (low > 0) == ((b - 20) ** 2 / (b + 20) > z**2)
    assert statistics.tango_interval(0, 50, 50) == pytest.approx(((50 - z**2) / (50 + z**2), 1), abs=1e-6)


def test_mcnemar_keeps_its_level() -> None:
    """Two equally good networks are told apart no more often than the level says."""
    rng = np.random.default_rng(6)
    discordant = rng.binomial(200, 0.2, 400)
    p = [statistics.find_mcnemar_p(k := int(rng.binomial(m, 0.5)), int(m) - k) for m in discordant]
    assert np.mean(np.array(p) < 0.05) <= 0.06


def test_comparison_of_four() -> None:
    predictions, metrics = make_results({"baseline": 0.5, "augmented": 0.7, "tfrecord": 0.5, "transfer": 2.0})
    found = comparison.compare_variants(predictions, metrics, {}, n_bootstrap=500, seed=1)
    assert render_json(found) == render_json(
        comparison.compare_variants(predictions, metrics, {}, n_bootstrap=500, seed=1)
    )
    assert found["best"] == "transfer"
    assert found["n_test_images"] == 200
    assert found["n_pairs"] == 6
    assert [row["rank"] for row in found["ranking"]] == [1, 2, 3, 3]
    pair = found["pairs"][0]
    assert (pair["first"], pair["second"]) == ("baseline", "augmented")
    assert pair["difference"] == pytest.approx(
        metrics["augmented"]["test"]["accuracy"] - metrics["baseline"]["test"]["accuracy"]
    )
    assert pair["difference_low"] <= pair["difference"] <= pair["difference_high"]
    assert pair["agreement"] == 1 - (pair["only_first_right"] + pair["only_second_right"]) / 200
    twin = found["pairs"][1]
    assert twin["same_logits"]
    assert twin["difference"] == 0
    assert twin["p_holm"] == 1
    assert "equal to the last bit" in twin["sentence"]
    assert verdict.find_twins(found["pairs"]) == {"tfrecord": "baseline"}
    assert len(verdict.list_distinct_pairs(found["pairs"])) == 4
    assert "transfer" in found["verdict"][0]
    assert "tfrecord" not in " ".join(found["verdict"])
    # Only plain values at the top are shown by `dvc metrics`.
    assert [key for key, value in found.items() if not isinstance(value, list)] == [
        "best",
        "n_test_images",
        "n_pairs",
        "n_pairs_told_apart",
    ]
    assert not {"seconds", "device", "images_per_second"} & set(json.dumps(found).replace('"', " ").split())


def test_one_variant_alone() -> None:
    predictions, metrics = make_results({"baseline": 1.0})
    found = comparison.compare_variants(predictions, metrics, {}, n_bootstrap=100, seed=1)
    assert found["pairs"] == []
    assert len(found["verdict"]) == 2
    assert "| baseline |" in tables.render_markdown(found)


def make_pair(**changes: Any) -> dict[str, Any]:
    return {
        "first": "a", "second": "b", "difference": 0.05, "difference_low": 0.02, "difference_high": 0.08,
        "only_first_right": 10, "only_second_right": 30, "same_logits": False, "p": 0.002, "p_holm": 0.01,
    } | changes  # fmt: skip


def test_sentences_are_honest() -> None:
    def tell(**changes: Any) -> str:
        return verdict.describe_pair(make_pair(**changes), n_images=400)

    rest = " by 5.0 points (95% interval +2.0 to +8.0; p = 0.010): more than luck with the test images explains."
    assert tell() == "b beats a" + rest
    turned = tell(difference=-0.05, difference_low=-0.08, difference_high=-0.02)
    assert turned == "a beats b" + rest
    assert "cannot tell whether that is luck" in tell(difference_low=-0.01, p=0.2, p_holm=0.6)
    assert "a hint, but not beyond doubt" in tell(p=0.03, p_holm=0.09)
    assert "right equally often" in tell(difference=0.0, difference_low=-0.02, difference_high=0.02, p=1.0, p_holm=1.0)
    assert "the very same test images" in tell(
        difference=0.0, only_first_right=0, only_second_right=0, p=1.0, p_holm=1.0
    )


def test_cost_of_overfitting_is_told_where_there_is_one() -> None:
    row: dict[str, Any] = {"variant": "a", "epochs": 42, "best_epoch": 16, "onset_epoch": 10, "saved_epoch": 42}
    row |= {"validation_loss_best": 0.664, "validation_loss_last": 1.114}
    row |= {"validation_accuracy_best": 0.6126, "validation_accuracy_last": 0.655}
    assert verdict.describe_cost(row) == (
        "That cost a 26 of its 42 epochs, those after its lowest validation loss, in epoch 16: they took it from 0.66 "
        "to 1.11 (guessing costs 0.69) and the validation accuracy from 61.3% to 65.5%."
    )
    assert verdict.describe_cost(row | {"saved_epoch": 16}) == (
        "That cost a time only: 26 of its 42 epochs, those after its lowest validation loss, in epoch 16, were thrown "
        "away."
    )
    assert verdict.describe_cost(row | {"onset_epoch": None}) is None
    assert verdict.describe_cost(row | {"validation_loss_last": None}) is None


def test_early_stopping_is_told_from_the_history() -> None:
    row: Any = {"variant": "a", "epochs": 38, "best_epoch": 16, "saved_epoch": 38}
    row |= {"validation_accuracy_best": 0.6125, "validation_accuracy_last": 0.62}
    timing: Any = {"seconds": 66.4, "seconds_after_best": 38.2}
    assert verdict.describe_stopping(row, timing) == (
        "Stopped at its best epoch, 16 of 38, a would have a validation accuracy of 61.3% instead of 62.0%, after 28 s "
        "instead of 66."
    )
    for there_already in ({"saved_epoch": 16}, {"best_epoch": 38}, {"validation_accuracy_best": None}):
        assert verdict.describe_stopping(row | there_already, timing) is None


def test_numbers_as_people_write_them() -> None:
    assert verdict.format_points(-0.0312) == "\N{MINUS SIGN}3.1"
    assert verdict.format_points(-0.0001) == "0.0"
    assert verdict.format_percent(0.8225) == "82.2%"
    assert [verdict.format_p(p) for p in (1e-9, 0.0123, 0.4)] == ["p < 0.001", "p = 0.012", "p = 0.40"]


def test_different_test_images_are_refused() -> None:
    predictions, metrics = make_results({"a": 1.0, "b": 1.5})
    predictions["b"] = predictions["b"].assign(path=lambda frame: frame["path"] + "x")
    with pytest.raises(InputError, match=r"b.csv and predictions/a.csv are of different test images"):
        comparison.compare_variants(predictions, metrics, {}, n_bootstrap=100, seed=1)


def write_results(predictions: dict[str, pd.DataFrame]) -> None:
    """What train and evaluate leave for compare, in the working folder."""
    for folder in ("predictions", "models"):
        Path(folder).mkdir()
    timing = {"images_per_second": 190.0, "seconds": 9.5, "seconds_per_epoch": [5.0], "device": "cpu", "threads": 2}
    for name, frame in predictions.items():
        frame.to_csv(f"predictions/{name}.csv", index=False)
        Path(f"models/{name}.timing.json").write_text(render_json(timing))
        Path(f"models/{name}.training.json").write_text(render_json(TRAINING))
        Path(f"models/{name}.history.csv").write_text(HISTORY.to_csv(index=False))


PATHS = {
    "predictions": Path("predictions"), "models": Path("models"), "plots": Path("plots/comparison"),
    "comparison": Path("metrics/comparison.json"), "timings": Path("metrics/timings.json"),
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def run_compare() -> subprocess.CompletedProcess[str]:
    options = [word for name, path in PATHS.items() for word in (f"--{name}", str(path))]
    command = [sys.executable, "-m", "stages.compare", *options]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )


@pytest.mark.usefixtures("project")
def test_stage_writes_all_or_says_what_is_missing() -> None:
    predictions, metrics = make_results({"own": 0.7, "augmented": 1.0, "baseline": 0.5})
    write_results(predictions)  # params.yaml has no block of the first, and another order
    done = run_compare()
    assert done.returncode == 0, done.stderr
    found = json.loads(PATHS["comparison"].read_text())
    names = ["baseline", "augmented"]
    assert [row["variant"] for row in found["overfitting"]] == names
    chosen = ({name: results[name] for name in names} for results in (predictions, metrics))
    params = load_params(ROOT / "params.yaml")
    blocks = {name: params.variants[name].model_dump() for name in names}
    wanted = comparison.compare_variants(*chosen, blocks, n_bootstrap=2000, seed=1)
    assert PATHS["comparison"].read_text() == render_json(wanted)
    assert "seconds" not in json.dumps(found)
    assert json.loads(PATHS["timings"].read_text())["baseline"]["median_seconds_per_epoch"] == 5.0
    assert sorted(path.name for path in PATHS["plots"].iterdir()) == [
        "comparison.csv", "comparison.md", "confusion.csv", "cures.csv", "cures.png", "curves.csv", "curves.png",
        "differences.png", "overfitting.png", "pairs.csv", "reliability.csv", "roc.csv",
    ]  # fmt: skip
    table = pd.read_csv(PATHS["plots"] / "comparison.csv")
    assert pd.read_csv(PATHS["plots"] / "pairs.csv")["p_holm"].tolist() == [found["pairs"][0]["p_holm"]]
    assert table["accuracy"].tolist() == [row["accuracy"] for row in found["ranking"]]
    Path("models/augmented.history.csv").unlink()
    done = run_compare()
    assert done.returncode == 2
    assert "augmented.history.csv is missing: make it with `dvc repro train@augmented`" in done.stderr


@pytest.mark.usefixtures("project")
def test_stage_refuses_damaged_figures_in_one_line() -> None:
    write_results(make_results({"baseline": 0.5})[0])
    for kind in ("timing", "training"):
        path = Path(f"models/baseline.{kind}.json")
        text = path.read_text()
        path.write_text(text[:20])
        done = run_compare()
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {path} is damaged (")
        assert done.stderr.count("\n") == 1
        assert not PATHS["plots"].exists()
        path.write_text(text)


@pytest.mark.usefixtures("project")
def test_stage_without_predictions_says_what_to_run() -> None:
    done = run_compare()
    assert done.returncode == 2
    assert "predictions has no file of a variant in params.yaml: run `dvc repro`" in done.stderr


@pytest.mark.usefixtures("project")
def test_tables_of_charts_hold_all_variants() -> None:
    predictions, _ = make_results({"baseline": 0.5, "augmented": 1.0})
    histories = dict.fromkeys(predictions, HISTORY)
    for kind, columns in {
        "curves": ["epoch", "loss", "val_loss", "accuracy", "val_accuracy", "accuracy_gap", "loss_gap"],
        "roc": ["false_positive_rate", "true_positive_rate", "threshold"],
        "reliability": ["low", "high", "n", "predicted", "observed", "observed_low", "observed_high"],
        "confusion": ["actual", "predicted"],
    }.items():
        table = tables.tabulate_charts(predictions, histories, calibration_bins=10)[kind]
        assert list(table) == ["variant", *columns]
        tables.write_table(table, path := Path(f"{kind}.csv"))
        charts = tables.read_charts(path)
        assert list(charts) == ["baseline", "augmented"]
        assert list(charts["augmented"]) == columns
    Path("other.csv").write_text("name,epoch\nbaseline,1\n")
    with pytest.raises(InputError, match=r"other\.csv is no table of compare"):
        tables.read_charts(Path("other.csv"))
    pd.testing.assert_frame_equal(tables.read_charts(Path("curves.csv"))["baseline"], tabulate_curves(HISTORY))
    assert set(charts["baseline"]["actual"]) == {"cat", "dog"}


@pytest.mark.usefixtures("project")
def test_shares_of_the_images_make_a_learning_curve() -> None:
    predictions, _ = make_results({"baseline": 1.0, "baseline_half": 0.5})
    half = predictions["baseline_half"]
    predictions["baseline_half"] = half[(half["split"] != "train") | (half.index % 4 < 2)]
    write_results(predictions)
    done = run_compare()
    table = pd.read_csv(PATHS["plots"] / "sizes.csv")
    assert table["variant"].tolist() == ["baseline", "baseline"]
    assert table["n_images"].tolist() == [100, 200]
    assert (PATHS["plots"] / "sizes.png").is_file()
    sentence = "baseline: 2 times the images (100 to 200) take test accuracy"
    assert sentence in done.stdout
    assert sentence in (PATHS["plots"] / "comparison.md").read_text()


def test_timing_summary() -> None:
    timing = {
        "images_per_second": 190.0,
        "seconds": 9.5,
        "seconds_per_epoch": [5.0, 1.0, 2.0],
        "load_seconds": 1,
        "device": "cpu",
        "threads": 2,
    }
    assert comparison.summarise_timing(timing, best_epoch=1) == {
        "images_per_second": 190.0, "seconds": 9.5, "seconds_after_best": 3.0, "median_seconds_per_epoch": 2.0,
        "device": "cpu", "threads": 2,
    }  # fmt: skip


def test_change_of_one_variant() -> None:
    predictions, metrics = make_results({"old": 0.6, "new": 1.0})
    turned = predictions["new"].sample(frac=1, random_state=1)  # another order of rows changes nothing
    change = comparison.measure_change(predictions["old"], turned)
    pair = comparison.compare_variants(predictions, metrics, {}, n_bootstrap=100, seed=1)["pairs"][0]
    assert (len(change["only_before_right"]), len(change["only_after_right"])) == (
        pair["only_first_right"],
        pair["only_second_right"],
    )
    assert (change["difference"], change["p"]) == (pair["difference"], pair["p"])
    for when, name in (("before", "old"), ("after", "new")):
        assert change[when]["accuracy"] == metrics[name]["test"]["accuracy"]
        assert change[when]["accuracy_high"] == metrics[name]["test"]["accuracy_high"]
        assert change[when]["gap"] == pytest.approx(metrics[name]["overfitting"]["accuracy_gap"])
    logits = {name: frame.set_index("path")["logit"] for name, frame in predictions.items()}
    turns = [abs(logits["new"][path] - logits["old"][path]) for path in change["only_after_right"]]
    assert turns == sorted(turns, reverse=True)
    with pytest.raises(ValueError, match="test images are not the same"):
        comparison.measure_change(predictions["old"], turned.assign(path=turned["path"] + "x"))


def test_change_in_one_line() -> None:
    side = {"accuracy": 0.81, "accuracy_low": 0.777, "accuracy_high": 0.839}
    change: dict[str, Any] = {"before": side, "after": side | {"accuracy": 0.825}, "p": 0.25, "difference": 0.015}
    change |= {
        "difference_low": -0.009,
        "difference_high": 0.039,
        "only_before_right": ["a"],
        "only_after_right": ["b"],
    }

    def tell(**changes: Any) -> str:
        return verdict.describe_change("augmented", change | changes)

    lead = "augmented: 82.5% (was 81.0%): +1.5 points, 95% "
    assert tell() == f"{lead}\N{MINUS SIGN}0.9 to +3.9: cannot be told from luck"
    assert tell(difference_low=0.001, p=0.055) == f"{lead}+0.1 to +3.9: a hint, not beyond luck"
    assert tell(difference_low=0.003, p=0.02) == f"{lead}+0.3 to +3.9: more than luck with the test images"
    same = "augmented: 82.5%, right and wrong on the very same test images as before"
    assert tell(only_before_right=[], only_after_right=[]) == same
    assert verdict.describe_unpaired("augmented", change["before"], change["after"]) == (
        "augmented: 82.5%, 95% 77.7% to 83.9% (was 81.0%, 95% 77.7% to 83.9%): on other test images, so nothing can be "
        "paired"
    )


def test_stage_tells_what_changed_and_nothing_else(tmp_path: Path) -> None:
    predictions, _ = make_results({"old": 0.6, "new": 1.0})
    paths = {name: tmp_path / f"{name}.csv" for name in predictions}
    for name, frame in predictions.items():
        frame.to_csv(paths[name], index=False)
    manifest, other = tmp_path / "manifest.csv", tmp_path / "other.csv"
    rows = predictions["old"][["path", "split", "label"]].assign(sha256="a", group="")
    rows.to_csv(manifest, index=False)
    rows.assign(sha256=np.where(rows["split"] == "test", "b", "a")).to_csv(other, index=False)
    former = {manifest: manifest, paths["new"]: paths["old"]}
    (line,) = comparison.tell_changes([paths["new"]], manifest, former)
    assert line == verdict.describe_change("new", comparison.measure_change(predictions["old"], predictions["new"]))
    assert comparison.tell_changes([paths["new"]], manifest, {manifest: manifest, paths["new"]: paths["new"]}) == []
    assert comparison.tell_changes([paths["new"]], manifest, {}) == []
    assert comparison.tell_changes([paths["new"]], manifest, {manifest: manifest}) == []
    (line,) = comparison.tell_changes([paths["new"]], manifest, former | {manifest: other})
    assert "nothing can be paired" in line
    # The same test images in another order, and other training images, are no obstacle.
    rows[rows["split"] == "test"].iloc[::-1].to_csv(other, index=False)
    assert comparison.tell_changes([paths["new"]], manifest, former | {manifest: other})[0].startswith("new: ")
    paths["old"].write_text("damaged")
    assert comparison.tell_changes([paths["new"]], manifest, former) == []
