"""Where a result comes from."""

import subprocess
from pathlib import Path

import pytest

from cvd.report import provenance
from cvd.runtime.project import ask_changes, ask_git


def run_git(*arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def ask_code() -> dict[str, str]:
    """As the report stage does."""
    return provenance.describe_code(
        ask_git("rev-parse", "HEAD"), ask_git("show", "-s", "--format=%cs", "HEAD"), ask_changes()
    )


def test_code_is_this_commit_or_says_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert ask_code()["commit"] == ""
    run_git("init", "-q")
    assert "nothing committed yet" in ask_code()["state"]
    (tmp_path / "metrics").mkdir()
    for name in ("params.yaml", "metrics/a.json"):
        (tmp_path / name).write_text("1")
    run_git("add", ".")
    run_git("commit", "-q", "-m", "first")
    code = ask_code()
    assert code["commit"] == run_git("rev-parse", "HEAD")
    assert code["date"] == run_git("show", "-s", "--format=%cs")
    assert code["state"] == "exactly this commit"
    (tmp_path / "metrics/a.json").write_text("2")  # a result, not code
    assert ask_code()["state"] == "exactly this commit"
    (tmp_path / "params.yaml").write_text("2")
    assert ask_code()["state"] == "this commit with changes in params.yaml"


def test_many_changes_are_cut_short() -> None:
    state = provenance.describe_code("0123", "2026-01-01", "\n".join(f" M file-{i}" for i in range(9)))["state"]
    assert state.endswith("file-6, file-7 and more")


def test_versions_and_machine_are_told() -> None:
    assert {"python", "numpy", "tensorflow"} <= provenance.list_versions().keys()
    machine = provenance.describe_machine()
    assert machine["processor"]
    assert int(machine["cores"]) >= 1
