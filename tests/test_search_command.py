"""`cvd search`: what is tried, what is refused, and that a killed search goes on to the same bits."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tiny_project import run

from cvd import cli
from cvd.commands.searching.points import list_points, parse_settings
from cvd.runtime.errors import InputError

ROOT = Path(__file__).parent.parent
RAW = yaml.safe_load((ROOT / "params.yaml").read_text())


def test_points_are_the_product_in_order_and_each_is_checked() -> None:
    settings = parse_settings(["width=8,16", "l2=0,1e-3", "augment.rotation_degrees=15", "seed=3"])
    points = list_points(RAW, "augmented", settings, n=None, seed=1)
    assert [point.label for point in points] == [
        "width=8 l2=0", "width=8 l2=0.001", "width=16 l2=0", "width=16 l2=0.001"
    ]  # fmt: skip
    last = points[-1].params
    assert (last.seed, last.augment.rotation_degrees, last.variants["augmented"].l2) == (3, 15, 1e-3)
    assert last.variants["baseline"].l2 == 0
    assert (
        list_points(RAW, "small", parse_settings(["dropout=0.5"]), n=None, seed=1)[0].params.variants["small"].width
        == 8
    )


def test_random_draws_are_seeded_and_without_repetition() -> None:
    settings = parse_settings(["width=1,2,3,4,5", "depth=1,2,3,4", "augment=true,false"])
    draws = [[point.label for point in list_points(RAW, "baseline", settings, n=10, seed=seed)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 10
    assert len(list_points(RAW, "baseline", settings, n=100, seed=1)) == 40


@pytest.mark.parametrize(
    ("base", "settings", "said"),
    [
        ("nobody", [], "variant 'nobody' is not in params.yaml"),
        ("baseline", ["width"], "'width' is no setting: write KEY=VALUE"),
        ("baseline", ["width=8,"], "is no setting"),
        ("baseline", ["width=8,8"], "says a key or a value twice"),
        ("baseline", ["width=8", "width=9"], "says a key or a value twice"),
        ("baseline", ["width=8,0"], "variants.baseline.width"),
        ("baseline", ["widht=8"], "variants.baseline.widht is unknown"),
        ("baseline", ["augment.zoom_fraction=2"], "augment.zoom_fraction"),
        ("baseline", ["train.threads=1,2"], "'train.threads' cannot be searched: one process"),
        (
            "baseline",
            ["image.size_px=64"],
            "'image.size_px' cannot be searched: expected a key of variants.baseline, or",
        ),
        ("baseline", [f"seed={','.join(map(str, range(1001)))}"], "the product has 1,001 points, 1,000 at most"),
    ],
)
def test_what_cannot_work_is_one_line(base: str, settings: list[str], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        list_points(RAW, base, parse_settings(settings), n=None, seed=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "what to search is missing"),
        (["--name", "a/b"], "--name is 'a/b'"),
        (["--name", "unheard"], "search 'unheard' is not there: there are known"),
        (["baseline", "width=9", "--name", "known"], "search 'known' is of other settings"),
        (["baseline", "--n", "0"], "--n is 0"),
        (["baseline", "width=8"], "data/manifest.csv is not there"),
    ],
)
def test_command_refuses_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "searches/known").mkdir(parents=True)
    spec = {"base": "baseline", "settings": {"width": [8]}, "n": None, "draw": 1}
    (tmp_path / "searches/known/search.json").write_text(json.dumps(spec))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["search", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def project(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("search") / "project"
    shutil.copytree(prepared, target, symlinks=True)
    yield target
    shutil.rmtree(target)


@pytest.mark.pipeline
def test_killed_search_leaves_no_child_and_goes_on_to_the_same_bits(project: Path) -> None:
    settings = ["width=1,2", "dropout=0,0.5", "epochs=3"]
    command = [str(Path(sys.executable).parent / "cvd"), "search", "baseline", *settings, "--name", "killed"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    while not process.stdout.readline().startswith("1/4"):
        assert process.poll() is None, process.stderr.read()
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not run("pgrep", "-g", str(process.pid), cwd=project, check=False).stdout, "a child is left"

    first = (project / "searches/killed/log.txt").read_text()
    continued = run("cvd", "search", "--name", "killed", cwd=project).stdout
    assert (project / "searches/killed/log.txt").read_text().count("width=1 dropout=0\n") == first.count(
        "width=1 dropout=0\n"
    ), "what is finished is not trained again"
    run("cvd", "search", "baseline", *settings, cwd=project)
    tables = [pd.read_csv(project / f"searches/{name}/search.csv") for name in ("killed", "baseline-search")]
    pd.testing.assert_frame_equal(*[table.drop(columns="seconds") for table in tables], check_exact=True)

    test = json.loads((project / "searches/killed/test.json").read_text())
    assert [figures["n_images"] for figures in test.values()] == [6]
    assert "4 networks were tried" in continued
    again = run("cvd", "search", "--name", "killed", cwd=project).stdout
    assert json.loads((project / "searches/killed/test.json").read_text()) == test, "opened once"
    assert again.partition("\n\n")[2] == continued.partition("\n\n")[2]
    assert len(list((project / "searches/killed/trials").glob("*/model.keras"))) == 1
    listed = run("cvd", "runs", "killed", cwd=project).stdout
    assert all(f"killed/baseline {label}" in listed for label in tables[0]["label"])
    assert not run("git", "status", "--porcelain", cwd=project).stdout.count("searches")
