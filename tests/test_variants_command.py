"""`cvd add` and `cvd remove`: lines and blocks come and go, and all other lines of the files stay."""

import difflib
import re
import shutil
from pathlib import Path

import pytest

from cvd import cli

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def cvd(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return int(ended.value.code or 0)


def changed_lines(project: Path) -> list[str]:
    """Lines added (+) and removed (-) in both files, against those that are shipped."""
    changes: list[str] = []
    for name in ("params.yaml", "dvc.yaml"):
        one, two = ((folder / name).read_text().splitlines() for folder in (ROOT, project))
        changes += [line for line in difflib.ndiff(one, two) if line[0] in "+-"]
    return changes


def test_optional_variant_is_one_line_in_the_graph(project: Path) -> None:
    assert cvd("add", "small") == 0
    (line,) = changed_lines(project)
    assert line.split(maxsplit=1)[1] == (
        "small: {reads: data/images.sha256, network: cvd/models/scratch, pixels: image, section: image, "
        "like: baseline, base: baseline}"
    )
    assert cvd("remove", "small") == 0
    assert not changed_lines(project)


def test_new_variant_is_one_block_and_one_line(project: Path) -> None:
    assert cvd("add", "gentle", "--like", "augmented", "dropout=0.2", "learning_rate=1e-4") == 0
    block, line = (change.split(maxsplit=1)[1] for change in changed_lines(project))
    assert block == "gentle: {like: augmented, dropout: 0.2, learning_rate: 0.0001}"
    assert line.startswith("gentle: {reads: data/images.sha256, ")
    assert "section: augment, like: augmented" in line
    assert cvd("remove", "gentle") == 0
    assert len(changed_lines(project)) == 1, "the block stays"
    assert cvd("remove", "gentle", "--block") == 0
    assert not changed_lines(project)


def test_shares_and_networks_without_convolutions_are_trained_without_pictures(project: Path) -> None:
    assert cvd("add", "baseline_half", "baseline_eighth", "dense") == 0
    graph = (project / "dvc.yaml").read_text()
    assert graph.index("    graph:") < graph.index("      baseline_half:") < graph.index("      dense:")


def test_adding_twice_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cvd("add", "small") == 0
    before = changed_lines(project)
    assert cvd("add", "small") == 0
    assert changed_lines(project) == before
    assert "small is in the graph already" in capsys.readouterr().out


def test_results_of_a_removed_variant_go_with_it(project: Path) -> None:
    cvd("add", "small")
    for name in (
        "models/small.keras",
        "metrics/small.json",
        "plots/filters/small/a.png",
        "metrics/baseline.json",
        "metrics/explanations/small.json",
    ):  # the last of a stage that was killed:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    (project / "models/.gitignore").write_text("/baseline.keras\n/small.keras\n")
    (project / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  train@small:\n    outs:\n    - path: models/small.keras\n  filters@small:\n"
        "    outs:\n    - path: plots/filters/small\n  train@baseline:\n    outs:\n    - path: models/baseline.keras\n"
        "  evaluate@small:\n    outs:\n    - path: metrics/small.json\n"
    )
    assert cvd("remove", "small") == 0
    left = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert left == {"params.yaml", "dvc.yaml", "dvc.lock", "models/.gitignore", "metrics/baseline.json"}
    assert (project / "models/.gitignore").read_text() == "/baseline.keras\n"
    assert "small" not in (project / "dvc.lock").read_text()
    assert "train@baseline" in (project / "dvc.lock").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "nobody"], ["'nobody' is not in params.yaml", "baseline"]),
        (["add", "x", "--like", "nobody"], ["variants.x.like is 'nobody'", "must name one of baseline"]),
        (["add", "x", "--like", "baseline", "widht=8"], ["variants.x.widht is unknown"]),
        (["add", "x", "--like", "baseline", "width=0"], ["variants.x.width is 0"]),
        (["add", "x", "--like", "baseline", "width"], ["'width'", "KEY=VALUE"]),
        (["add", "small", "--like", "baseline"], ["'small'", "has a block already"]),
        (["add", "x", "--like", "fine_tuned"], ["x.like goes 3 blocks deep (x > fine_tuned > transfer_augmented"]),
        (["add", "x", "--like", "transfer", "starts_from=small", "input=files"], ["starts_from is 'small'"]),
        (["remove", "small"], ["'small' is not in dvc.yaml's graph, which has baseline"]),
        (["remove", "small", "--block"], []),
        (["add", "1e3", "--like", "baseline"], ["variants has", "must begin with a letter"]),
        (["add", "null", "--like", "baseline"], ["variants has 'null'", "must begin with a letter"]),
        (["remove", "baseline", "augmented", "transfer"], ["would leave no network to draw"]),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_changes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: list[str]
) -> None:
    code = cvd(*words)
    line = capsys.readouterr().err
    if said:
        assert code == 2
        assert line.startswith("error: ")
        assert line.count("\n") == 1
        assert not changed_lines(project)
    for word in said:
        assert word in line


def test_variant_that_another_starts_from_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cvd("add", "fine_tuned")
    before = changed_lines(project)
    assert cvd("remove", "transfer") == 2
    assert "'fine_tuned' starts from 'transfer'" in capsys.readouterr().err
    assert changed_lines(project) == before
    assert cvd("remove", "transfer", "fine_tuned") == 0


def test_what_a_variant_starts_from_must_be_trained(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cvd("remove", "transfer")
    assert cvd("add", "fine_tuned") == 2
    assert "starts from 'transfer', which is not in the graph: run `cvd add transfer`" in capsys.readouterr().err


def test_wrong_line_is_replaced(project: Path) -> None:
    graph = project / "dvc.yaml"
    cvd("add", "gentle", "--like", "augmented", "dropout=0.2")
    right = graph.read_text()
    graph.write_text(re.sub("gentle: .*", "gentle: {reads: data/images.sha256}", right))
    assert cvd("add", "gentle") == 0
    assert graph.read_text() == right
    assert cvd("add", "gentle", "--no-pictures") == 0
    assert graph.read_text() == right, "a right line stays where it is"


def test_line_without_a_block_can_be_removed(project: Path) -> None:
    cvd("add", "gentle", "--like", "augmented", "dropout=0.2")
    shutil.copy(ROOT / "params.yaml", project)
    assert cvd("remove", "gentle") == 0
    assert not changed_lines(project)


def test_variant_named_as_a_folder_of_networks_can_be_removed(project: Path) -> None:
    assert cvd("add", "backbone", "--like", "transfer", "dropout=0.2") == 0
    assert cvd("remove", "backbone", "--block") == 0
    assert not changed_lines(project)


def test_lock_that_cannot_be_read_stays_as_it_is(project: Path) -> None:
    cvd("add", "small", "l2")
    (project / "dvc.lock").write_text("<<<<<<< HEAD\nstages: {")
    assert cvd("remove", "small", "l2", "small") == 0
    assert not changed_lines(project)
    assert (project / "dvc.lock").read_text() == "<<<<<<< HEAD\nstages: {"
