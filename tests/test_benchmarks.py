"""The benchmarks run, on next to nothing, and print their tables. No time is asserted."""

import argparse
import importlib
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks import __main__ as all_benchmarks
from benchmarks import bench_before, bench_epoch, bench_loop, bench_pair, bench_repro, contest
from benchmarks.contest import Clock, Figures, Goal, Turn, divide, print_goals, take_turns, time_contenders
from cvd.machine import threads

SIZES = {
    "input": "--images 40 --source-px 64 --repeats 1",
    "augmentation": "--images 40 --repeats 1",
    "steps": "--images 20 --blocks 1 --side 64",
    "epoch": "--images 20 --starts 1 --warm 1",
    "pair": "--images 20 --epochs 2 --repeats 1",
    "transfer": "--images 20 --epochs 3 --timed 2",
    "scale": "--counts 32 64",
    "repro": "--photos 30 --repeats 1",
    "loop": "--repeats 1",
    "gradcam": "--images 2 --side 64 --repeats 1",
    "before": "--repeats 1",
    "filters": "--filters 2 --side 40 --steps 2 --repeats 1",
}


class EagerTurn(Turn):
    """A turn that nobody waits for."""

    def __init__(self) -> None:
        self.figures: list[Figures] = []

    def begin(self) -> None:
        pass

    def end(self, **figures: float) -> None:
        self.figures.append(figures)


def run_one_by_one(contenders: Mapping[str, Callable[[Turn], None]], *, rounds: int) -> dict[str, list[Figures]]:
    turns = {name: EagerTurn() for name in contenders}
    for name, work in contenders.items():
        work(turns[name])
        assert len(turns[name].figures) == rounds
    return {name: turn.figures for name, turn in turns.items()}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """New processes would each load TensorFlow, for seconds."""
    monkeypatch.setattr(threads, "set_threads", lambda *numbers, **more: None)  # TensorFlow runs already
    monkeypatch.setattr("cvd.data.examples.pipeline.READY", 1)
    for name in SIZES:
        module = importlib.import_module(f"benchmarks.bench_{name}")
        monkeypatch.setattr(module, "take_turns", run_one_by_one, raising=False)
        monkeypatch.setattr(
            module, "run_apart", lambda work, **arguments: contest.measure_memory(work, arguments), raising=False
        )
        monkeypatch.setattr(module, "BLOCK", 1, raising=False)
    # Stages that need no results of the project.
    names = [bench_loop.CHECK, "download", bench_loop.EVALUATION, bench_loop.EXPLANATIONS, "report"]
    monkeypatch.setattr(bench_loop, "REPORT", Path(__file__))
    monkeypatch.setattr(bench_loop, "copy_results", Path.mkdir)
    monkeypatch.setattr(bench_loop, "list_commands", lambda: (dict.fromkeys(names, "true"), names[2:]))
    monkeypatch.setattr(
        bench_pair, "train_together", lambda threads, *more: [bench_pair.train(*more, n) for n in threads[:1]]
    )
    # The commit's code is today's.
    few = argparse.Namespace(pictures=2, images=20, warm=1)
    monkeypatch.setattr(bench_before, "ask_git", lambda *arguments, **more: bench_before.COMMIT)
    monkeypatch.setattr(bench_before, "unpack", lambda folder: None)
    monkeypatch.setattr(bench_before, "work_in", lambda tree, name: bench_before.WORKS[name](few))
    monkeypatch.setattr(bench_repro, "ROOT", write_project(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)


def write_project(folder: Path) -> Path:
    """Write a project of two stages, for a `dvc repro` that has next to nothing to look at."""
    (folder / ".dvc").mkdir(parents=True)
    for name in (".dvc/config", "params.yaml"):
        shutil.copy(bench_repro.ROOT / name, folder / name)
    (folder / "dvc.yaml").write_text(bench_repro.chain_echoes(2, params=["image"]))
    bench_repro.run("git", "init", "-q", folder=folder)
    return folder


@pytest.mark.filterwarnings("default")  # peers warn of this and that
@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", SIZES)
def test_each_prints_its_conditions_its_table_and_its_goals(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", *SIZES[name].split()])
    importlib.import_module(f"benchmarks.bench_{name}").main()
    said = capsys.readouterr().out
    assert re.search(r"machine: .* cores, .* GiB", said)
    assert re.search(r"versions: .*tensorflow [\d.]+, keras", said)
    assert "precision: " in said
    assert "data: " in said
    assert " ±" in said or " MB" in said
    verdicts = [line for line in said.splitlines() if line.endswith(all_benchmarks.VERDICTS)]
    assert verdicts
    assert all(
        re.search(r"[<>] [\d.]+(x|%| m?s| MB|) +-?[\d.]+(x|%| m?s| MB|)  (ok|missed)$", line) for line in verdicts
    )


def test_all_are_run_by_make_bench() -> None:
    folder = Path(contest.__file__).parent
    assert set(all_benchmarks.NAMES) == set(SIZES) == {file.stem[6:] for file in folder.glob("bench_*.py")}


def take_two_turns(turn: Turn) -> None:
    for number in range(2):
        turn.begin()
        turn.end(number=number)


def die(turn: Turn) -> None:
    raise SystemExit(3)


def test_contenders_take_turns_in_processes_of_their_own() -> None:
    found = take_turns({"first": take_two_turns, "second": take_two_turns}, rounds=2)
    assert found == {name: [{"number": 0}, {"number": 1}] for name in ("first", "second")}


def test_a_contender_that_dies_ends_the_contest() -> None:
    with pytest.raises(EOFError):
        take_turns({"first": take_two_turns, "second": die}, rounds=2)


def test_a_clock_leaves_the_first_epoch_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0, 1, 3, 10, 11, 15, 20, 21, 31, 36])  # made; then steps begin, steps end, epoch ends
    monkeypatch.setattr("benchmarks.contest.time.perf_counter", lambda: next(ticks))
    clock, turn = Clock(), EagerTurn()
    for _ in range(3):
        clock.begin_steps()
        clock.end_steps(100)
        clock.end_epoch()
    clock.hand_in(turn)
    assert turn.figures == [{"cold": 10, "warm": 13, "rate": (25 + 10) / 2}]


def test_the_rate_of_two_trainings_is_that_of_the_time_when_both_are_warm() -> None:
    # Epochs of 2 s from 1 to 9, of 4 s from 3 to 11: from 3 to 9 three and one and a half of them.
    ends = [[1.0, 3.0, 5.0, 7.0, 9.0], [3.0, 7.0, 11.0]]
    assert bench_pair.measure_rate(ends, 100) == pytest.approx((3 + 1.5) * 100 / 6)
    assert bench_pair.measure_rate(ends[:1], 100) == pytest.approx(50)


def test_trainings_begin_with_another_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[list[str]] = []

    def run(contenders: Mapping[str, Callable[[Turn], None]], *, rounds: int) -> dict[str, list[Figures]]:
        orders.append(list(contenders))
        return {name: [{"cold": number}] for number, name in enumerate(contenders)}

    monkeypatch.setattr(bench_epoch, "take_turns", run)
    found = [bench_epoch.start_anew({"a": die, "b": die, "c": die}, first=first) for first in range(4)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]
    assert found[1] == {"a": {"cold": 2}, "b": {"cold": 0}, "c": {"cold": 1}}


def test_contenders_are_interleaved_and_the_first_round_is_not_measured() -> None:
    order: list[str] = []

    def work(name: str) -> Callable[[], int]:
        def run() -> int:
            order.append(name)
            return 1

        return run

    rates = time_contenders({"a": work("a"), "b": work("b")}, repeats=2, prepare=lambda: order.append("-"))
    assert "".join(order) == "-a-b-a-b-a-b"
    assert {name: len(series) for name, series in rates.items()} == {"a": 2, "b": 2}


def test_ratios_are_of_the_same_round() -> None:
    # The machine halves its speed in the last round: it halves for both.
    assert divide([20, 20, 10], [10, 10, 5]) == 2


@pytest.mark.parametrize(
    ("goal", "line"),
    [
        (Goal("epoch", 2.5, 2.51), "> 2.5x     2.51x  ok"),
        (Goal("epoch", 2.5, 2.49), "> 2.5x     2.49x  missed"),
        (Goal("waiting", 2, 2.01, "%", is_most=True), "< 2%     2.01%  missed"),
        (Goal("split", 60, 59.9, " s", is_most=True), "< 60 s      60 s  ok"),
    ],
)
def test_goals_say_what_was_asked_and_got(goal: Goal, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_goals([goal])
    assert capsys.readouterr().out.splitlines()[-1].endswith(line)
