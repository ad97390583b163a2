"""The state of a training on disk, its folder, and the digests that key it."""

import os
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import yaml

from cvd.runtime.errors import InputError
from cvd.runtime.files import digest_files
from cvd.runtime.locks import try_lock
from cvd.runtime.stage import TerminatedError
from cvd.training.devices import MemoryShortError
from cvd.training.identity import CODE, ROOT, digest_arrays, make_key
from cvd.training.state import KEPT_DAYS, StateWriter, TrainingState, load_state, open_state_folder, save_state


def make_state() -> TrainingState:
    kernel, seed = np.arange(12, dtype=np.float32).reshape(3, 4), np.array([1, 2], np.uint32)
    return TrainingState(
        history=[{"epoch": 1, "loss": 0.1 + 0.2}],
        train_seconds=[1.5],
        epoch_seconds=[2.5],
        best_epoch=1,
        best=[kernel, seed],
        variables=[kernel + index for index in range(11)],
        optimizer=[np.array(7, np.int64)],
    )


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state, path = make_state(), tmp_path / "state.npz"
    save_state(state, path)
    loaded = load_state(path)
    assert loaded is not None
    for name in ("history", "train_seconds", "epoch_seconds", "best_epoch"):
        assert getattr(loaded, name) == getattr(state, name)
    for name in ("best", "variables", "optimizer"):
        for one, other in zip(getattr(loaded, name), getattr(state, name), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.best-1.npz", "state.npz"]


def test_best_weights_are_written_when_they_change_only(tmp_path: Path) -> None:
    state, path = make_state(), tmp_path / "state.npz"
    with StateWriter(path) as writer:
        for epoch, best_epoch in ((1, 1), (2, 1), (3, 3), (4, 3)):
            if best_epoch != state.best_epoch:
                state.best_epoch, state.best = best_epoch, [np.full(3, best_epoch)]
            state.history.append({"epoch": epoch})
            writer.write(state)
            writer._wait()
            best = tmp_path / f"state.best-{best_epoch}.npz"
            assert set(tmp_path.iterdir()) == {path, best}
            if epoch == best_epoch:
                written = best.stat().st_mtime_ns, best.stat().st_ino
            assert (best.stat().st_mtime_ns, best.stat().st_ino) == written
    loaded = load_state(path)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.best, [np.full(3, 3)])


def test_state_before_is_whole_until_the_next_one_is(tmp_path: Path) -> None:
    """A training is killed between the two files of a state."""
    state, path = make_state(), tmp_path / "state.npz"
    save_state(state, path)
    whole = path.read_bytes()
    state.best_epoch, state.best = 2, [np.zeros(1)]
    path.unlink()
    path.mkdir()  # cannot be written
    with pytest.raises(OSError, match="state"):
        save_state(state, path)
    path.rmdir()
    path.write_bytes(whole)
    loaded = load_state(path)
    assert loaded is not None
    assert loaded.best_epoch == 1
    np.testing.assert_array_equal(loaded.best[0], make_state().best[0])


@pytest.mark.parametrize("fault", [MemoryError, PermissionError])
def test_a_state_that_cannot_be_read_now_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    path = tmp_path / "state.npz"
    save_state(TrainingState(), path)

    def fail(*_: object, **__: object) -> None:
        raise fault

    with monkeypatch.context() as patched, pytest.raises(fault):
        patched.setattr(np, "load", fail)
        load_state(path)
    assert load_state(path) is not None


def test_no_state_is_none_and_a_damaged_one_too_which_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state.npz"
    assert load_state(path) is None
    assert capsys.readouterr().out == ""
    save_state(make_state(), path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]):
        path.write_bytes(damaged)
        assert load_state(path) is None
        said = capsys.readouterr().out
        assert said.startswith(f"the state in {tmp_path} is damaged (")
        assert said.endswith("): beginning at epoch 1\n")
    path.write_bytes(whole)
    assert load_state(path) is not None
    (tmp_path / "state.best-1.npz").unlink()
    assert load_state(path) is None


def test_whatever_bit_is_wrong_no_other_state_is_read(tmp_path: Path) -> None:
    """A zip has checksums of its members, but not of their names and its directory."""
    state, path = make_state(), tmp_path / "state.npz"
    save_state(state, path)
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    n_noticed = 0
    for position in [*range(0, directory, 40), *range(directory, len(whole))]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        loaded = load_state(path)
        n_noticed += loaded is None
        for name in ("variables", "optimizer") if loaded else ():
            for one, other in zip(getattr(loaded, name), getattr(state, name), strict=True):
                np.testing.assert_array_equal(one, other)
    assert n_noticed > 200


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), InputError("loss is nan")])
def test_last_state_is_written_whatever_ends_the_training(tmp_path: Path, error: BaseException | None) -> None:
    state, writer = make_state(), StateWriter(tmp_path / "state.npz")
    with pytest.raises(type(error)) if error else nullcontext(), writer:
        for epoch in range(2, 6):
            state.history.append({"epoch": epoch, "loss": 1 / epoch})
            state.train_seconds.append(epoch)
            writer.write(state)
        state.history.append({"epoch": 6, "loss": 0.0})  # no part of what was written
        if error:
            raise error
    loaded = load_state(writer.path)
    assert loaded is not None
    assert loaded.history == state.history[:-1]
    assert loaded.train_seconds == state.train_seconds
    np.testing.assert_array_equal(loaded.variables, state.variables)


def test_state_that_cannot_be_written_stops_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), StateWriter(tmp_path / "file" / "state.npz") as writer:
        writer.write(make_state())
        writer.write(make_state())
    with pytest.raises(FileExistsError), StateWriter(tmp_path / "file" / "state.npz") as writer:
        writer.write(make_state())


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        TerminatedError(),
        OSError(28, "No space left on device"),
        MemoryShortError("not enough memory"),
    ],
)
def test_folder_stays_when_the_training_can_go_on(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), open_state_folder(tmp_path, "key") as folder:
        assert folder is not None
        (folder / "state.npz").write_text("1")
        raise error
    with open_state_folder(tmp_path, "key") as folder:
        assert folder is not None
        assert (folder / "state.npz").read_text() == "1"
    assert not list(tmp_path.iterdir())


def test_folder_without_a_finished_epoch_goes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_state_folder(tmp_path, "key"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_folder_goes_after_an_error_that_would_come_again(tmp_path: Path) -> None:
    with pytest.raises(InputError), open_state_folder(tmp_path, "key"):
        raise InputError("loss is nan")
    assert not list(tmp_path.iterdir())


def test_second_process_with_the_same_training_gets_no_folder(tmp_path: Path) -> None:
    with open_state_folder(tmp_path, "key") as first, open_state_folder(tmp_path, "key") as second:
        assert first == tmp_path / "key"
        assert second is None
    assert not list(tmp_path.iterdir())


def test_states_that_nobody_goes_on_with_go_in_time(tmp_path: Path) -> None:
    """As of killed trainings: one of today, one long ago, one long ago that still runs, one that is gone on with."""
    (tmp_path / "replaced").mkdir()
    (tmp_path / "replaced/state.npz.partial").symlink_to("nowhere")  # listed, and gone when it is looked at
    (tmp_path / "replaced.lock").touch()
    for name in ("today", "old", "running", "own"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.npz").touch()
        (tmp_path / f"{name}.lock").touch()
        if name != "today":
            os.utime(tmp_path / name / "state.npz", (time.time() - (KEPT_DAYS + 1) * 86_400,) * 2)
    with try_lock(tmp_path / "running.lock"), open_state_folder(tmp_path, "own") as folder:
        assert folder is not None
        assert (folder / "state.npz").exists()
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {name + ending for name in ("today", "running", "own", "replaced") for ending in ("", ".lock")}


def test_digests_tell_what_differs(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/one.py").write_text("1")
    before = digest_files([tmp_path / "data"])
    (tmp_path / "data/two.pyc").write_text("2")
    assert digest_files([tmp_path / "data"]) != before
    assert digest_files([tmp_path / "data"], "*.py") == before
    (tmp_path / "data/one.py").rename(tmp_path / "data/other.py")
    assert digest_files([tmp_path / "data"], "*.py") != before
    assert digest_arrays([np.zeros(2)]) != digest_arrays([np.ones(2)])


def test_key_follows_configuration_and_code(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("1")
    key = make_key({"a": 1, "b": {"c": 2}}, script=script)
    assert key == make_key({"b": {"c": 2}, "a": 1}, script=script)
    assert key != make_key({"b": {"c": 2.5}, "a": 1}, script=script)
    script.write_text("2")
    assert key != make_key({"a": 1, "b": {"c": 2}}, script=script)


def test_code_of_the_key_is_what_the_stage_depends_on() -> None:
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["do"]
    folders = {dep for dep in stage["deps"] if dep.startswith("cvd/")}
    assert set(CODE) == folders | {"cvd/models/scratch"}, "the last one is the graph's `network`"
    assert all((ROOT / folder).is_dir() for folder in CODE)
