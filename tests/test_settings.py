"""`cvd run`: a file of settings and the place of the photos become an experiment, or are refused in one line."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from tiny_project import commit, name_author, run

from cvd import cli
from cvd.commands import settings
from cvd.runtime.files import YamlLoader
from cvd.runtime.params.loading import load_params
from cvd.runtime.revisions.differences import flatten_params

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "settings").glob("*.yaml"))


class BecameError(Exception):
    """What the process would have become."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    for name in ("params.yaml", "dvc.yaml", "data/README.md", "photos/README.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / ".dvc").mkdir()
    run("git", "init", "-q", "-b", "main", cwd=root)
    name_author(root)
    commit(root, "start")
    monkeypatch.chdir(root)
    for name in ("DVC_ROOT", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # whoever runs the tests may be known to git

    def execute(path: str, words: list[str]) -> None:
        assert (path, words[:3]) == (sys.executable, [sys.executable, "-m", "dvc"])
        raise BecameError(words[3:])

    monkeypatch.setattr(settings.os, "execv", execute)
    return root


def start(*words: object) -> list[str]:
    """What DVC would be called with."""
    with pytest.raises(BecameError) as became:
        cli.main(["run", *map(str, words)])
    given: list[str] = became.value.args[0]
    assert given[:3] == ["exp", "run", "--name"]
    return given[3:]


def read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.load(path.read_text(), YamlLoader)
    return values


def write(project: Path, text: str) -> Path:
    (project / "mine.yaml").write_text(text)
    return project / "mine.yaml"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_shipped_files_give_their_values_and_all_others_stay(project: Path, tmp_path: Path, file: Path) -> None:
    """As DVC itself reads what it is given."""
    photos = tmp_path / "cats, 'dogs' = ${x}\\ {1}.zip"
    photos.touch()
    before = flatten_params(read(project / "params.yaml"))
    name, *options = start(file, f"../{photos.name}")
    assert name == file.stem
    assert set(options[::2]) == {"-S"}
    apply_overrides(project / "params.yaml", options[1::2])
    expected = before | flatten_params(read(file)) | {"data.source": "archive", "data.path": str(photos)}
    assert flatten_params(read(project / "params.yaml")) == expected
    assert load_params(project / "params.yaml").data.path == str(photos)


def test_shipped_files_hold_the_same_keys() -> None:
    """So that nothing of one file stays when the other one is used."""
    assert {file.stem for file in FILES} >= {"photos", "photos-all"}
    assert len({frozenset(flatten_params(read(file))) for file in FILES}) == 1


def test_values_are_lists_or_new_and_others_that_stay_are_named(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "gradcam: {layers: [conv1, conv2]}\nvariants: {small: {dropout: 0.5}, baseline: {patience: 3, epochs: 38}}\n"
    name, *options = start(write(project, text), tmp_path, "--queue", "-S", "seed=range(2,6)", "-n", "own")
    assert name == "own"
    assert options == [
        "--queue",
        *("-S", "data.source=directory"),
        *("-S", f"data.path={tmp_path}"),
        *("-S", "variants.baseline.patience=3"),
        *("-S", "gradcam.layers=[conv1,conv2]"),
        *("-S", "+variants.small.dropout=0.5"),
        *("-S", "seed=range(2,6)"),
    ]
    apply_overrides(project / "params.yaml", [word for word in options[1:-2] if word != "-S"])
    assert load_params(project / "params.yaml").variants["small"].dropout == 0.5
    capsys.readouterr()
    assert start(write(project, "variants: {baseline: {patience: 3}}\n")) == ["mine"], "params.yaml has that already"
    note = capsys.readouterr().err
    assert note.startswith("note: params.yaml has other values than your commit, which stay: data.source=directory, ")
    assert "gradcam.layers=[conv1, conv2], variants.small.dropout=0.5; `git checkout HEAD params.yaml`" in note
    assert "patience" not in note


def test_experiment_gets_the_next_free_name(project: Path) -> None:
    file = write(project, "seed: 2\n")
    head = run("git", "rev-parse", "HEAD", cwd=project).stdout.strip()
    for name in ("mine", "mine-2"):
        run("git", "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", "HEAD", cwd=project)
    assert start(file)[0] == "mine-3"


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("split: {trian: 1000}", [], "mine.yaml does not fit: split.trian is unknown: check the spelling"),
        ("splits: {train: 1000}", [], "mine.yaml does not fit: splits is unknown"),
        ("split: {test: 0}", [], "split.test is 0: should be a number of images of each class, 1 or more, or a share"),
        ("split: {train: null, validation: 0.5, test: 0.6}", [], "validation 0.5 + test 0.6 add up to 1.1"),
        ("split: {test: 0.9}", [], "split asks for 1220 images of each class, but data.drawn.n_per_class is 800"),
        ("split: 3", [], "split is 3: should be a section with train, validation, test, seed"),
        ("variants: {baseline: {augment: true}}", [], "gives baseline `section: image`, but its block in params.yaml"),
        ("gradcam: {photos: nowhere}", [], "gradcam.photos is 'nowhere': there is no such file or folder"),
        ("", [], "mine.yaml holds no settings: write keys as in params.yaml"),
        ("split: {", [], "mine.yaml is not valid YAML"),
        ("seed: 2", ["nowhere.zip"], "DATA is 'nowhere.zip', which is not there: give the path of a zip, a tar or a"),
        ("seed: 2", [""], "DATA is missing: give the path of a zip, a tar or a folder, as in `make photos DATA="),
        ("seed: 2", ["-n", "taken"], "experiment 'taken' is there already: choose another --name, or `dvc exp remove"),
    ],
)
def test_what_cannot_work_is_one_line_and_nothing_starts(
    project: Path, capsys: pytest.CaptureFixture[str], text: str, words: list[str], said: str
) -> None:
    head = run("git", "rev-parse", "HEAD", cwd=project).stdout.strip()
    run("git", "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/taken", "HEAD", cwd=project)
    assert said in refuse(capsys, write(project, text), *words)


def test_git_without_a_commit_or_a_name_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(project, "seed: 2\n")
    assert "cannot read nowhere.yaml" in refuse(capsys, "nowhere.yaml")
    run("git", "config", "--unset", "user.email", cwd=project)
    assert "git has no user.email, and experiments are commits: `git config user.email" in refuse(capsys, file)
    shutil.rmtree(project / ".git")
    assert "git has no commit here, and experiments start from one" in refuse(capsys, file)


def refuse(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", *map(str, words)])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err
