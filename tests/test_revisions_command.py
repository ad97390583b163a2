"""`cvd compare` of revisions and `cvd exps`, as typed, on experiments as DVC leaves them."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from revisions_project import Project, git

import cvd
from cvd import cli
from cvd.commands.evidence import exps, flips, rows
from cvd.commands.evidence.formats import render_latex
from cvd.data.images.pixels import decode_image, encode_jpeg
from cvd.evaluation.comparison import measure_change
from cvd.evaluation.measures import read_predictions
from cvd.runtime.errors import InputError
from cvd.runtime.revisions import contents
from cvd.runtime.startup import start_tensorflow

Run = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """HEAD, and experiments that differ in one number, in code, in data, in nothing."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    made.write()
    made.commit()
    for name, how in {
        "turned": {"augmented": 1.6, "rotation": 15},
        "coded": {"baseline": 0.55, "code": "other"},
        "dealt": {"split_seed": 2},
        "same": {},
    }.items():
        made.write(**how)  # type: ignore[arg-type]
        made.keep(name)
    made.write()
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        printed = capsys.readouterr()
        assert int(ended.value.code or 0) == code, printed.err
        return printed.err if code else printed.out

    return run


@pytest.mark.usefixtures("project")
def test_one_number(project: Project, run: Run) -> None:
    text = run("compare", "HEAD", "turned")
    assert text.startswith("From HEAD to turned, on the same 200 test images.\n\n| variant | test, HEAD (95%) |")
    assert "  - differs: augment.rotation_degrees 40 → 15\n" in text
    assert "\n- unchanged: baseline\n" in text
    assert "more than luck with the test images" in text
    assert run("compare", "turned") == text, "an experiment alone is held against its baseline"
    pair = json.loads(run("compare", "HEAD", "turned", "--json"))
    (row,) = pair["changed"]
    project.write(augmented=1.6, rotation=15)
    after = read_predictions(project.root / "predictions/augmented.csv")
    project.write()
    change = measure_change(read_predictions(project.root / "predictions/augmented.csv"), after)
    assert {key: row[key] for key in change} == change
    assert row["differences"]["params"] == {"augment.rotation_degrees": [40, 15]}
    for path in change["only_after_right"][:10]:
        assert path in text
    latex = run("compare", "HEAD", "turned", "--latex")
    assert latex == render_latex(text)
    assert r"variant & test, HEAD (95\%) & test, turned (95\%) & difference, points (95\%) & p (McNemar) &" in latex
    table = pd.read_csv(StringIO(run("compare", "HEAD", "turned", "--csv"))).set_index("variant")
    assert table.loc["augmented", "difference_low"] == change["difference_low"]
    assert table.loc["augmented", "only_after_right"] == len(change["only_after_right"])
    assert table.loc["baseline", "differences"] == "unchanged"


@pytest.mark.usefixtures("project")
def test_code_and_nothing(run: Run) -> None:
    text = run("compare", "HEAD", "coded")
    assert "  - differs: code: cvd/training\n" in text
    assert "- unchanged: augmented\n" in text
    nothing = "From HEAD to same: no answer differs.\n\n- unchanged: baseline, augmented\n"
    assert run("compare", "HEAD", "same") == nothing
    assert run("compare", "workspace") == nothing.replace("same", "workspace")


@pytest.mark.usefixtures("project")
def test_other_test_images_are_not_paired(run: Run) -> None:
    text = run("compare", "HEAD", "dealt")
    reason = "the test images differ (200 and 200, of which 0 are the same): split.seed 1 → 2."
    assert text.startswith(f"From HEAD to dealt: nothing can be paired, since {reason}\n")
    assert "on other test images, so nothing can be paired\n  - differs: split.seed 1 → 2\n" in text
    assert "only HEAD right" not in text
    (row, _) = json.loads(run("compare", "HEAD", "dealt", "--json"))["changed"]
    assert "difference" not in row
    assert row["unpaired"] in text
    assert row["before"]["accuracy_low"] < row["before"]["accuracy"]
    assert run("compare", "HEAD", "dealt", "--csv").startswith("variant,accuracy_before,")


def test_variant_that_was_not_evaluated_again_is_unchanged(project: Project, run: Run) -> None:
    """`dvc exp run -S split.seed=2 evaluate@baseline` leaves the other's predictions, of the old split, in place."""
    old = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    project.write(split_seed=2)
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())
    lock["stages"] |= {name: old[name] for name in ("train@augmented", "evaluate@augmented")}
    (project.root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    project.keep("half")
    text = run("compare", "half")
    assert text.startswith("From HEAD to half: nothing can be paired, since the test images differ (200 and 200")
    assert "- unchanged: augmented\n" in text
    # Of another experiment of the old split its own images can be paired, though those of the lock's split cannot.
    assert text.count("on other test images") == 1
    text = run("compare", "half", "turned")
    assert text.startswith("From half to turned, on the same 200 test images.")
    assert "baseline: " in text
    assert text.count("on other test images") == 1


def test_variants_are_picked_and_named(project: Project, run: Run) -> None:
    assert "baseline" not in run("compare", "HEAD", "turned", "--variant", "augmented")
    assert "variant 'none' is not in both HEAD and turned: they share baseline, augmented" in run(
        "compare", "HEAD", "turned", "--variant", "none", code=2
    )
    for words, fault in {
        ("baseline", "HEAD"): "'baseline' is a variant and 'HEAD' is none: compare variants, or revisions",
        ("HEAD", "turned", "same"): "3 revisions were given: two can be compared, or one with its baseline",
        ("baseline", "augmentd"): "'augmentd' is no revision: there are workspace, HEAD, ",
        ("baseline", "--sheet", "a.png"): "--variant and --sheet need revisions",
        ("HEAD",): "'HEAD~1' is no revision",
    }.items():
        said = run("compare", *words, code=2)
        assert fault in said
        assert said.count("\n") == 1
    (project.root / "dvc.lock").unlink()
    project.commit("without results")
    assert "HEAD has no results in its dvc.lock" in run("compare", "HEAD", "turned", code=2)


def test_what_the_cache_lacks_is_named(project: Project, run: Run) -> None:
    project.write(augmented=1.6, rotation=15)
    project.forget("predictions/augmented.csv")
    project.write(split_seed=2)
    project.forget("data/manifest.csv")
    project.write()
    absent = "- DVC's cache lacks predictions/augmented.csv of turned: `dvc exp apply turned`, then `dvc pull` or `dvc"
    assert absent in run("compare", "HEAD", "turned")
    unknown = "nothing can be paired, since whether the test images are the same is unknown: DVC's cache lacks data/man"
    assert unknown in run("compare", "HEAD", "dealt")
    rows = pd.read_csv(StringIO(run("exps", "turned", "--csv")))
    turned = rows[rows["experiment"] == "turned"].iloc[0]
    assert turned["test_accuracy"] > 0.5
    assert np.isnan(turned["difference"])


def test_experiments_on_one_screen(project: Project, run: Run) -> None:
    text = run("exps")
    lines = text.splitlines()
    head = git(project.root, "rev-parse", "--short=7", "HEAD")
    assert lines[0].split() == ["experiment", "varied", "variant", "valid.", "test", "(95%)", "gap", "s", "to",
                                "baseline", "(95%)"]  # fmt: skip
    assert lines[1].startswith(f"HEAD {head}")
    assert max(map(len, lines[:-3])) <= 100
    first = {line.split()[0]: line for line in lines if line}
    assert "rotation_degrees=15 augmented" in " ".join(first["turned"].split())
    assert first["turned"].endswith("*")
    assert "split.seed=2" in first["dealt"]
    assert first["dealt"].endswith(" unpaired")
    assert " code " in first["coded"]
    assert "unchanged" in first["same"]
    assert "unchanged" in first["workspace"]
    assert " 75 " in first["turned"]


@pytest.mark.usefixtures("project")
def test_experiments_sorted_filtered_and_as_csv(run: Run) -> None:
    def read(*arguments: str) -> pd.DataFrame:
        return pd.read_csv(StringIO(run("exps", "--csv", *arguments)), keep_default_na=False)

    rows = read()
    pair = json.loads(run("compare", "HEAD", "turned", "--json"))["changed"][0]
    turned = rows[rows["experiment"] == "turned"].iloc[0]
    assert turned["varied"] == "rotation_degrees=15"
    assert {key: float(turned[key]) for key in ("difference", "difference_low", "difference_high", "p")} == {
        key: pair[key] for key in ("difference", "difference_low", "difference_high", "p")
    }
    assert set(read("tur*", "code?")["experiment"]) == {rows["experiment"][0], "turned", "coded"}
    assert set(read("--variant", "augmented")["variant"]) == {"augmented"}
    accuracies = read("--sort", "test", "--variant", "augmented")["test_accuracy"].astype(float).tolist()
    assert accuracies == sorted(accuracies, reverse=True)
    names = read("--sort", "name")["experiment"].tolist()
    assert names == sorted(names)
    assert "there are no results of 'nobody'" in run("exps", "nobody", code=2)


@pytest.mark.usefixtures("project")
def test_runs_as_a_tidy_data_frame(run: Run) -> None:
    runs = cvd.read_runs()
    printed = pd.read_csv(StringIO(run("exps", "--csv")))
    assert (runs.columns.tolist(), len(runs)) == (printed.columns.tolist(), len(printed))
    assert runs.columns[:6].tolist() == [
        "baseline", "experiment", "varied", "variant", "split.seed", "augment.rotation_degrees",
    ]  # fmt: skip
    assert not runs.duplicated(["experiment", "variant"]).any()
    assert "split.seed" not in cvd.read_runs("turned"), "it does not differ among these"
    whole = runs.set_index(["experiment", "variant"])
    degrees = whole["augment.rotation_degrees"].to_dict()
    head = runs["baseline"][0]
    assert (degrees[head, "augmented"], degrees[head, "baseline"], degrees["turned", "augmented"]) == (40, 40, 15)
    assert ("turned", "baseline") not in degrees, "it is as in the baseline"
    metrics = json.loads(Path("metrics/augmented.json").read_text())
    row = whole.loc[(head, "augmented")]
    assert (row["ece"], row["train_accuracy"]) == (metrics["test"]["ece"], metrics["train"]["accuracy"])
    assert (row["epochs"], row["parameters"], row["seconds"]) == (4, 10, 75.2)
    assert {str(runs[name].dtype) for name in ("gap", "difference", "p")} == {"float64"}
    assert cvd.read_runs("nobody").empty


def test_varied_lists_are_text_and_what_is_absent_is_empty() -> None:
    params: list[dict[str, Any]] = [{"a.b": [1, 2], "c": 1, "d": 5, "e": None}, {"a.b": [1, 3], "c": 1, "e": 5}]
    table = rows.tabulate_rows([rows.Row("HEAD", "x", "", "baseline", values) for values in [*params, {"d": 5}]])
    assert table.columns[4:7].tolist() == ["a.b", "e", "train_accuracy"]
    assert table["a.b"].tolist()[:2] == ["[1, 2]", "[1, 3]"]
    assert table["a.b"].isna().tolist() == [False, False, True]
    assert table["e"].isna().tolist() == [True, False, True]


def test_without_a_project_there_is_nothing_to_list(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run("exps", code=2).endswith("is in no project (no .dvc here or above): run this in the project's folder\n")
    assert not list(tmp_path.iterdir())


def test_experiment_stays_without_the_metrics_of_its_lock(project: Project, run: Run) -> None:
    project.write(augmented=1.6, rotation=15)
    (project.root / "metrics/augmented.json").write_text("{}")
    project.keep("torn")
    rows = pd.read_csv(StringIO(run("exps", "torn", "--csv")))
    (torn,) = rows[rows["experiment"] == "torn"].to_dict("records")
    assert (torn["varied"], torn["variant"]) == ("rotation_degrees=15", "augmented")
    assert np.isnan([torn[key] for key in ("test_accuracy", "difference")]).all()
    assert "rotation_degrees=15 augmented" in " ".join(run("exps", "torn").split())


def test_applied_experiment_is_no_row_of_its_own_and_baselines_are_groups(
    project: Project, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = git(project.root, "rev-parse", "--short=10", "HEAD")
    project.write(augmented=1.6, rotation=15)
    assert "workspace" not in run("exps")
    monkeypatch.chdir(project.root / "data")
    assert "workspace" not in run("exps"), "from a folder within, too"
    monkeypatch.chdir(project.root)
    project.commit("turned")
    text = run("exps")
    groups = text.split("\n\n")
    assert groups[0].splitlines()[1].startswith("HEAD ")
    assert groups[1].startswith(old)
    assert "turned" in groups[1]


def test_what_was_varied_is_wrapped_to_the_width() -> None:
    row = rows.Row("HEAD", "own", "rotation_degrees=15 shift_fraction=0.1 zoom_fraction=0.5 dropout=0.25", "augmented",
                   validation_accuracy=0.75, test_accuracy=0.8, test_low=0.76, test_high=0.83, gap=0.05, seconds=86.0,
                   difference=0.015, difference_low=-0.009, difference_high=0.039, p=0.2)  # fmt: skip
    wide, narrow = (exps.render_rows([[row]], width=width) for width in (200, 100))
    assert len(wide.splitlines()) == 5
    assert max(map(len, narrow.splitlines()[:-3])) <= 100
    assert "(\N{MINUS SIGN}0.9 to +3.9)" in narrow
    for word in row.varied.split():
        assert word in narrow


def test_sheet_draws_both_networks_on_turned_images(
    project: Project, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The networks and images are those of the two revisions; what draws them is tested elsewhere."""
    asked: list[Any] = []

    def exhibit(revision: Any, variant: str, paths: list[str], method: str, _: Any) -> dict[str, Any]:
        asked.append((revision.name, variant, len(paths), method))
        from cvd.vis.explaining.geometry import Heat
        from cvd.vis.sheets.galleries import Exhibit

        heat = Heat("dog", "conv4", np.ones((4, 4), np.float32), "logits")
        return {path: Exhibit(path, np.zeros((20, 30, 3), np.uint8), "cat", 0.2, heat) for path in paths}

    monkeypatch.setattr(flips, "_exhibit", exhibit)
    pair = json.loads(run("compare", "HEAD", "turned", "--json"))["changed"][0]
    n = sum(min(flips.MOST, len(pair[f"only_{when}_right"])) for when in ("before", "after"))
    run("compare", "HEAD", "turned", "--sheet", "turns.png")
    assert asked == [("HEAD", "augmented", n, "auto"), ("turned", "augmented", n, "auto")]
    with Image.open(project.root / "turns.png") as sheet:
        assert sheet.width >= 760
        assert sheet.height > n * 200
    run("compare", "HEAD", "same", "--sheet", "none.png")
    assert not (project.root / "none.png").exists()


def test_exhibits_are_of_the_revisions_own_network_and_images(project: Project) -> None:
    """Model and image lie in DVC's cache only, under names that say nothing; the folder holds others."""
    start_tensorflow()
    import keras

    from cvd.models.networks.saving import save_model

    inputs = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(2, 3, name="conv1", activation="relu", kernel_initializer="ones")(inputs)
    outputs = keras.layers.Dense(1, name="logit", kernel_initializer="ones")(keras.layers.Flatten(name="flat")(x))
    save_model(keras.Model(inputs, outputs), project.root / "own.keras")
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    path = "test/1-0.jpg"
    image = project.store_bytes(encode_jpeg(picture))
    listing = project.store_bytes(json.dumps([{"relpath": path, "md5": image}]).encode())
    outs = {
        "models/augmented.keras": project.store_bytes((project.root / "own.keras").read_bytes()),
        "predictions/augmented.csv": contents.open_revision("HEAD", project.root).digests["predictions/augmented.csv"],
        "data/images": listing,
    }
    stages = {"all": {"outs": [{"path": name, "md5": md5} for name, md5 in outs.items()]}}
    asked: Any = ("augmented", [path], "gradcam", ("cat", "dog"))
    shown = flips._exhibit(contents.Revision("own", "", project.root, stages), *asked)[path]
    np.testing.assert_array_equal(shown.image, decode_image(encode_jpeg(picture)))
    frame = read_predictions(project.root / "predictions/augmented.csv").set_index("path")
    assert (shown.label, shown.probability) == ("cat", frame["probability"][path])
    assert shown.heat.layer == "conv1"
    lost = contents.Revision("own", "", project.root, {"all": {"outs": stages["all"]["outs"][1:]}})
    with pytest.raises(InputError, match=r"models/augmented.keras is neither in the working folder nor in DVC's cache"):
        flips._exhibit(lost, *asked)
