"""`make reset`: back to the last commit, with nothing lost."""

import shutil
from pathlib import Path

import pytest
from tiny_project import ROOT, commit, name_author, run

RESET = ("make", "--old-file=venv", "--no-print-directory", "reset")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a parameter and a stage's output, committed."""
    run("git", "init", "-q", "-b", "main", cwd=tmp_path)
    name_author(tmp_path)
    run("dvc", "init", "-q", cwd=tmp_path)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "params.yaml").write_text("rotation: 40\n")
    stage = "stages:\n  copy:\n    cmd: cp params.yaml out.txt\n    deps: [params.yaml]\n    outs: [out.txt]\n"
    (tmp_path / "dvc.yaml").write_text(stage)
    run("dvc", "repro", "-q", cwd=tmp_path)
    commit(tmp_path, "start")
    return tmp_path


def test_code_parameters_and_data_are_as_they_were_and_the_rest_is_kept(project: Path) -> None:
    (project / "params.yaml").write_text("rotation: 15\n")
    run("dvc", "repro", "-q", cwd=project)
    said = run(*RESET, cwd=project).stdout
    assert all(words in said for words in ("git stash pop", "params.yaml", "dvc.lock"))
    assert (project / "params.yaml").read_text() == (project / "out.txt").read_text() == "rotation: 40\n"
    run("git", "stash", "pop", "-q", cwd=project)
    assert (project / "params.yaml").read_text() == "rotation: 15\n"


def test_a_project_as_committed_gets_its_missing_files(project: Path) -> None:
    (project / "out.txt").unlink()
    assert "Nothing differs" in run(*RESET, cwd=project).stdout
    assert (project / "out.txt").read_text() == "rotation: 40\n"


def test_what_the_cache_lacks_is_named_with_the_way_to_make_it(project: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    (project / "out.txt").unlink()
    done = run(*RESET, cwd=project, check=False)
    assert done.returncode == 2
    assert all(words in done.stderr for words in ("out.txt", "dvc repro makes them"))
