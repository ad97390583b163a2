"""DVC's notes after kills: written whole with the repair, mended by `cvd doctor` where another DVC damaged them."""

import json
import os
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import tiny_project
import yaml

from cvd.commands.upkeep import doctor
from cvd.runtime.bookkeeping import examination, repairs
from cvd.runtime.bookkeeping.loading import REPAIRED, is_watching
from cvd.runtime.bookkeeping.processes import find_dvc_processes, has_started_since
from cvd.runtime.errors import InputError
from cvd.runtime.locks import hold_lock

ROOT = tiny_project.ROOT
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}
# As Python starts in the environment of `make`, whether or not the tests run there.
DVC = f"import site; site.addsitedir({str(examination.START.parent)!r}); import sys; from dvc.cli import main; "
DVC += "sys.exit(main(sys.argv[1:]))"
KEY = "ab" + 62 * "0"


def repro(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DVC, "repro"]
    return subprocess.run(command, cwd=root, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    stage = {"cmd": "cp a b", "deps": ["a"], "outs": ["b"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"copy": stage}}))
    (root / "a").write_text("a")
    tiny_project.run("git", "init", "-q", cwd=root, forks=False)
    tiny_project.run("dvc", "init", "-q", cwd=root, forks=False)
    done = repro(root)
    assert "Running stage 'copy'" in done.stdout, done.stderr
    return root


def test_the_repair_knows_the_locked_dvc() -> None:
    """Where this fails after `make lock`: see whether the new DVC still writes its notes in place."""
    locked = re.search(r"^dvc==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert locked[1] in repairs.KNOWN_VERSIONS
    assert version("dvc") in repairs.KNOWN_VERSIONS
    assert set(repairs._REPAIRS) == set(REPAIRED)


@pytest.mark.parametrize("kind", ["rwlock", "lock"])
def test_no_kill_damages_a_note(tmp_path: Path, kind: str) -> None:
    counts = {}
    for manner, n in (("whole", 60), ("plain", 40)):
        command = [sys.executable, str(Path(__file__).with_name("killed_writers.py")), str(tmp_path), str(n), manner]
        done = subprocess.run([*command, kind], env=ENVIRONMENT, capture_output=True, text=True, check=True)
        counts[manner] = int(done.stdout)
    assert counts["whole"] == 0
    assert counts["plain"] > 0, "the kills would show nothing"


def test_damaged_notes_do_not_stop_dvc(project: Path) -> None:
    """What kills of a DVC without the repair leave: a table of locks cut off, runs without an entry, half an entry."""
    (project / ".dvc/tmp/rwlock").write_text('{"write": {"b": {"pi')
    (entry,) = (project / ".dvc/cache/runs").glob("*/*/*")
    whole = entry.read_text()
    entry.with_name("x.tmp").write_text("cmd: cp a b\n")
    for text, runs in ((whole, False), ("", True)):
        (project / "dvc.lock").unlink()
        (project / "b").unlink()
        entry.unlink()
        if text:
            entry.write_text(text)
        done = repro(project)
        assert done.returncode == 0, done.stderr
        assert ("Running stage 'copy'" in done.stdout) == runs
        assert (project / "b").read_text() == "a"


def test_locks_of_other_processes_are_dropped_and_those_of_dvc_kept(tmp_path: Path) -> None:
    path = tmp_path / "rwlock"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    entries = [{"pid": os.getpid(), "cmd": "dvc repro"}, {"pid": child.pid, "cmd": "dvc repro"}]
    path.write_text(json.dumps({"write": {"a": entries[0]}}))  # DVC leaves out an empty part
    assert repairs.read_locks(path) == {"write": {"a": entries[0]}, "read": {}}
    path.write_text(json.dumps({"write": {"a": entries[0]}, "read": {"b": entries, "c": entries[1:]}}))
    assert repairs.read_locks(path)["read"] == {"b": entries, "c": entries[1:]}
    os.utime(path, (time.time() - 60,) * 2)  # as if the number had gone to another process since
    assert has_started_since(child.pid, path.stat().st_mtime)
    entries = [entry for entry in entries if not has_started_since(entry["pid"], path.stat().st_mtime)]
    assert repairs.read_locks(path)["read"] == ({"b": entries} if entries else {})
    child.communicate()
    for text in ("", "[]", '{"write": 3}', "\ud800".encode(errors="surrogatepass").decode("latin-1")):
        path.write_text(text)
        with pytest.raises(FileNotFoundError):
            repairs.read_locks(path)


def test_a_file_of_dvc_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    with repairs.WholeFiles(None).open(str(link), "w+", encoding="utf-8") as file:
        file.write("new")
        assert target.read_text() == "old"
    assert (target.read_text(), target.stat().st_mode & 0o777, link.is_symlink()) == ("new", 0o640, True)


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with everything that kills leave."""
    tiny_project.run("git", "init", "-q", cwd=tmp_path, forks=False)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".dvc/tmp/rwlock").touch()
    runs = tmp_path / ".dvc/cache/runs"
    for name in ("ab/1", f"ab/{KEY}"):
        (runs / name).mkdir(parents=True)
    for name in ("x.tmp", KEY):
        (runs / "ab" / KEY / name).touch()
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages:\n  a: {")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/.a.keras.partial").touch()
    (tmp_path / "data/.images.partial/train").mkdir(parents=True)
    (tmp_path / ".git/index.lock").touch()
    os.utime(tmp_path / ".git/index.lock", (0, 0))
    monkeypatch.setattr(examination, "find_cache", lambda root: root / ".dvc/cache")
    monkeypatch.setattr(examination, "_mend_environment", lambda: iter(()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def test_doctor_mends_all_that_kills_leave(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.mend(None) == 0
    said = capsys.readouterr().out
    for name in ("rwlock", "ab/1", f"ab/{KEY}", "dvc.lock", ".a.keras.partial", ".images.partial", "index.lock"):
        assert name in said
    assert said.endswith("7 mended, 0 left to do\n")
    left = {path.relative_to(damaged).as_posix() for path in damaged.rglob("*") if ".git/" not in str(path)}
    assert {name for name in left if name.startswith(".dvc/cache/runs/ab/")} == {
        f".dvc/cache/runs/ab/{KEY}",
        f".dvc/cache/runs/ab/{KEY}/{KEY}",
    }
    assert not {name for name in left if "partial" in name or name in ("dvc.lock", ".dvc/tmp/rwlock")}
    assert [path.read_text()[-1] for path in damaged.glob(".cvd/damaged/dvc.lock-*")] == ["{"]
    assert doctor.mend(None) == 0
    assert capsys.readouterr().out == "nothing to mend\n"


def test_doctor_brings_the_committed_lock_file_back(damaged: Path) -> None:
    whole = "schema: '2.0'\nstages:\n  copy:\n    cmd: cp a b\n"
    cut = (damaged / "dvc.lock").read_text()
    (damaged / "dvc.lock").write_text(whole)
    (damaged / ".git/index.lock").unlink()
    tiny_project.run("git", "add", "dvc.lock", cwd=damaged, forks=False)
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    tiny_project.run("git", *author, "commit", "-qm", "lock", cwd=damaged, forks=False)
    (damaged / "dvc.lock").write_text(cut)
    assert doctor.mend(None) == 0
    assert (damaged / "dvc.lock").read_text() == whole


def test_doctor_touches_nothing_while_a_dvc_runs(damaged: Path) -> None:
    (damaged / "dvc").write_text("input()")
    before = sorted(damaged.rglob("*"))
    running = subprocess.Popen([sys.executable, damaged / "dvc", "repro"], stdin=subprocess.PIPE, cwd=damaged)
    while not find_dvc_processes(damaged):
        time.sleep(0.1)
    with pytest.raises(InputError, match=rf"`dvc repro` \(process {running.pid}\) runs here.*nothing was touched"):
        doctor.mend(None)
    assert sorted(damaged.rglob("*")) == before
    with pytest.raises(KeyError):  # as of a table that DVC refuses
        repairs.read_locks(damaged / ".dvc/tmp/rwlock")["write"]
    running.communicate()


def test_doctor_names_a_stage_that_still_runs(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = damaged / ".cvd/locks/train@a.lock"
    with hold_lock(path):
        path.write_text("123")
        assert doctor.mend(None) == 1
    captured = capsys.readouterr()
    assert "stage train@a still runs as process 123" in captured.err
    assert (damaged / "models/.a.keras.partial").exists()


def test_doctor_puts_the_repair_into_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination.sysconfig, "get_path", lambda name: str(tmp_path))
    others = [finder for finder in sys.meta_path if getattr(finder, "__module__", "") != is_watching.__module__]
    monkeypatch.setattr(sys, "meta_path", others)
    (finding,) = examination._mend_environment()
    assert finding.is_mended
    assert (tmp_path / "cvd.pth").read_bytes() == examination.START.read_bytes()
    monkeypatch.setattr(examination, "version", lambda name: "3.99")
    (finding,) = examination._mend_environment()
    assert "DVC is 3.99, and the repair knows 3.67.1 only" in finding.text


def test_a_stage_without_dependencies_runs(tmp_path: Path) -> None:
    """It is in no run cache: DVC gives it no key."""
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"alone": {"cmd": "echo 1 > b", "outs": ["b"]}}}))
    tiny_project.run("git", "init", "-q", cwd=tmp_path, forks=False)
    tiny_project.run("dvc", "init", "-q", cwd=tmp_path, forks=False)
    done = repro(tmp_path)
    assert "Running stage 'alone'" in done.stdout
    assert done.returncode == 0, done.stderr


def test_the_repair_leaves_the_package_unimported() -> None:
    """A logged model brings its own copy of it, which must be the one that is imported."""
    script = f"import site; site.addsitedir({str(examination.START.parent)!r}); import sys; "
    script += "print([name for name in sys.modules if name.split('.')[0] == 'cvd'], *map(str, sys.meta_path))"
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ")
    assert "cvd.runtime.bookkeeping.loading" in done.stdout
