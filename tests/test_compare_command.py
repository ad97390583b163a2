"""`cvd compare`, as typed: tables from the files that lie there, without TensorFlow."""

import json
import re
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cvd import cli
from cvd.commands.evidence import seeds
from cvd.commands.evidence.formats import escape_latex, render_csv, render_latex
from cvd.evaluation.measures import evaluate_variant, tabulate_predictions
from cvd.runtime import experiments
from cvd.runtime.files import render_json

ROOT = Path(__file__).parent.parent
EVALUATE = {"calibration_bins": 10, "onset_tolerance": 0.05, "notable_gap": 0.05, "learned_accuracy": 0.8}
TRAINING = {"epochs": 4, "saved_epoch": 4, "precision": "float32", "parameters": 10}
TIMING = {"images_per_second": 190.4, "seconds": 75.2, "seconds_per_epoch": [18.8], "device": "CPU", "threads": 2}
HISTORY = pd.DataFrame(
    {"epoch": range(1, 5), "loss": 0.4, "accuracy": 0.8, "val_loss": [0.6, 0.5, 0.5, 0.6], "val_accuracy": 0.7}
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in (".dvc", "predictions", "metrics", "models"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    split = np.repeat(["test", "train", "validation"], 100)
    rows = pd.DataFrame({"path": [f"{i}.jpg" for i in range(300)], "split": split, "label": np.arange(300) % 2})
    for name, skill in {"transfer": 2.0, "own": 1.0, "baseline": 0.5}.items():
        noise = np.random.default_rng(round(10 * skill)).normal(size=300)
        frame = tabulate_predictions(rows, (2 * rows["label"] - 1) * skill + noise)
        frame.to_csv(tmp_path / f"predictions/{name}.csv", index=False)
        metrics = evaluate_variant(frame, HISTORY, TRAINING, **EVALUATE)
        (tmp_path / f"metrics/{name}.json").write_text(render_json(metrics))
    (tmp_path / "models/baseline.timing.json").write_text(json.dumps(TIMING))
    (tmp_path / "metrics/comparison.json").write_text("{}")  # of no variant
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def read_tables(text: str) -> list[list[dict[str, str]]]:
    """Markdown's tables, a dictionary for each row."""
    tables = []
    for part in text.split("\n\n"):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.strip().splitlines()]
        if part.startswith("|"):
            assert set("".join(lines[1])) == {"-", ":"}
            assert len(set(map(len, lines))) == 1
            tables.append([dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]])
    return tables


def test_all_that_was_evaluated_is_compared(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compare")
    assert code == 0
    results, overfitting, pairs = read_tables(out)
    assert [row["variant"] for row in results] == ["transfer", "own", "baseline"]
    found = json.loads((project / "metrics/own.json").read_text())
    assert results[1]["test accuracy (95%)"].startswith(f"{100 * found['test']['accuracy']:.1f}% (")
    cost = {row["variant"]: (row["training, s"], row["images/s"]) for row in overfitting}
    assert cost == {"transfer": ("", ""), "own": ("", ""), "baseline": ("75", "190")}
    assert overfitting[0]["curves' gap, best epoch to last"] == "+10.0 to +10.0"
    assert overfitting[0]["area, points"] == "+30"
    assert len(pairs) == 3
    assert "transfer beats baseline by" in out


def test_named_variants_as_csv_and_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "compare", "own", "baseline", "--csv")
    table = pd.read_csv(StringIO(out))
    assert table["variant"].tolist() == ["own", "baseline"]
    assert table["seconds"].tolist()[1] == 75.2
    found = json.loads((project / "metrics/own.json").read_text())
    assert table["accuracy"][0] == found["test"]["accuracy"]
    _, out, _ = run(capsys, "compare", "own", "baseline", "--json")
    comparison = json.loads(out)
    assert [(pair["first"], pair["second"]) for pair in comparison["pairs"]] == [("own", "baseline")]
    assert comparison["timings"]["baseline"]["images_per_second"] == 190.4


def test_tables_as_latex(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, markdown, _ = run(capsys, "compare", "own", "baseline")
    _, latex, _ = run(capsys, "compare", "own", "baseline", "--latex")
    assert latex == render_latex(markdown)
    bodies = re.findall(r"\\begin\{tabular\}\{(l+r+)\}\n\\toprule\n(.*?) \\\\\n\\midrule\n", latex)
    tables = read_tables(markdown)
    assert [len(columns) for columns, _ in bodies] == [len(table[0]) for table in tables]
    assert [heads.replace("\\%", "%").split(" & ") for _, heads in bodies] == [list(table[0]) for table in tables]
    assert all(line.startswith("%") for line in latex.splitlines() if "beats" in line or "over-fit" in line[:40])


def test_latex_to_the_letter() -> None:
    markdown = (
        "A sentence of 5%.\nAnother.\n\n| variant | test, my_run (95%) | p |\n| --- | ---: | ---: |\n"
        "| zero_shot | 81.0% (77.7 to 83.9) | < 0.001 |\n| a \N{MINUS SIGN} b |  | \N{MINUS SIGN}0.8 |\n\n- x_y\n"
    )
    assert render_latex(markdown) == (
        r"""% needs \usepackage{booktabs}

% A sentence of 5%.
% Another.

\begin{tabular}{lrr}
\toprule
variant & test, my\_run (95\%) & p \\
\midrule
zero\_shot & 81.0\% (77.7 to 83.9) & $<$ 0.001 \\
a $-$ b &  & $-$0.8 \\
\bottomrule
\end{tabular}

% - x_y
"""
    )
    assert escape_latex(r"\ & # { } ~ ^ $ > →") == (
        r"\textbackslash{} \& \# \{ \} \textasciitilde{} \textasciicircum{} \$ $>$ $\rightarrow$"
    )


def test_no_cell_of_a_csv_is_a_formula() -> None:
    counts = pd.array([2, None], dtype="Int64")
    table = pd.DataFrame({"name": ["=1+1", "@x, y"], "low": [-0.5, 0.25], "epoch": counts, "p": [None, "+1"]})
    assert render_csv(table) == "name,low,epoch,p\n'=1+1,-0.5,2,\n\"'@x, y\",0.25,,'+1\n"


def test_what_is_missing_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "compare", "nobody")
    assert (code, err.count("\n")) == (2, 1)
    assert "'nobody' is no revision: there are workspace, HEAD, and what git knows; variants are baseline, trans" in err
    code, _, err = run(capsys, "compare", "augmented")
    assert (code, err.count("\n")) == (2, 1)
    assert "metrics/augmented.json is not there: run `dvc repro` or `dvc pull`" in err
    code, _, err = run(capsys, "compare", "--seeds")
    assert code == 2
    assert "no variant was trained with two seeds: queue some with `dvc exp run --queue -S 'seed=range(2,6)'`" in err
    shutil.rmtree(project / "predictions")
    code, _, err = run(capsys, "compare")
    assert code == 2
    assert "no variant has been evaluated" in err


def make_outcomes(project: Path) -> list[experiments.Outcome]:
    """Outcomes of baseline and own, of three seeds."""
    outcomes = []
    for variant in ("baseline", "own"):
        for i, accuracy in enumerate((0.5, 0.6, 0.65)):
            metrics: dict[str, Any] = json.loads((project / f"metrics/{variant}.json").read_text())
            metrics["test"]["accuracy"] = accuracy + (variant == "own") * (0.1 + 0.01 * i)
            outcome = experiments.Outcome(f"seed-{i}", variant, i, {"a": 1}, {}, "c", metrics)
            outcomes.append(outcome)
    return outcomes


def test_seeds_in_all_forms(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "read_outcomes", lambda root: make_outcomes(project))
    _, out, _ = run(capsys, "compare", "--seeds")
    spread, each = read_tables(out)
    assert [row["variant"] for row in spread] == ["baseline", "own"]
    assert spread[0]["test accuracy, mean"] == "58.3%"
    assert each[1] == {"variant": "own", "seed 0": "60.0%", "seed 1": "71.0%", "seed 2": "77.0%"}
    assert (
        "own is 11.0 points above baseline on average, ahead in 3 of 3 (95% interval +8.5 to +13.5; p = 0.003)" in out
    )
    _, out, _ = run(capsys, "compare", "--seeds", "own", "--csv")
    assert out.splitlines()[:2] == ["variant,seed,test_accuracy,experiment", "own,0,0.6,seed-0"]
    _, out, _ = run(capsys, "compare", "--seeds", "--json")
    assert json.loads(out) == seeds.summarise_seeds(seeds.gather_seeds(make_outcomes(project)))


def test_no_tensorflow_is_loaded(project: Path) -> None:
    script = (
        "import sys\nfrom cvd.cli import main\n"
        "try:\n    main(['compare'])\nexcept SystemExit:\n    pass\n"
        "print({'tensorflow', 'keras', 'mlflow', 'dvc'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
