"""Contenders timed in turn, over and over, so that a busy time hits all of them; medians, spreads, ratios, goals."""

import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from cvd.machine import hardware
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.threads import count_cores

LIBRARIES = ("tensorflow", "keras", "numpy", "opencv-python-headless", "dvc")
GIGABYTE = 2**30

Figures = dict[str, float]
Series = dict[str, list[float]]
"""name -> a figure per round."""


@dataclass(frozen=True)
class Goal:
    """What was asked of some work, and what it got. `is_most`: what was asked is the most allowed, else the least."""

    work: str
    asked: float
    got: float
    unit: str = "x"
    is_most: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it got what was asked."""
        return self.got <= self.asked if self.is_most else self.got >= self.asked


class Turn:
    """A contender's end of the line to the referee: `begin` waits for the turn, `end` hands in its figures."""

    def __init__(self, line: Connection) -> None:
        self._line = line

    def begin(self) -> None:
        """Says that it is ready, and waits."""
        self._line.send(None)
        self._line.recv()

    def end(self, **figures: float) -> None:
        """Hands in what the turn gave."""
        self._line.send(figures)


Work = Callable[[Turn], None]


def time_contenders(
    contenders: Mapping[str, Callable[[], int]], *, repeats: int, prepare: Callable[[], None] | None = None
) -> Series:
    """Rates over `repeats` rounds, each running every contender once, after an unmeasured round.

    Args:
        contenders: name -> work, which returns how many images it saw.
        repeats: rounds.
        prepare: called before each work, untimed.

    Returns:
        name -> images per second, for each round.
    """
    rates: Series = {name: [] for name in contenders}
    for is_measured in [False] + [True] * repeats:
        for name, work in contenders.items():
            if prepare:
                prepare()
            start = time.perf_counter()
            n = work()
            if is_measured:
                rates[name].append(n / (time.perf_counter() - start))
    return rates


def take_turns(contenders: Mapping[str, Work], *, rounds: int) -> dict[str, list[Figures]]:
    """Each contender in a process of its own, which rests while another has its turn.

    Args:
        contenders: name -> work, picklable, which has exactly `rounds` turns.
        rounds: turns of each.

    Returns:
        name -> the figures that it handed in at the end of each turn.

    Raises:
        EOFError: a contender died; it has said why.
    """
    context = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    processes: dict[str, BaseProcess] = {}
    results: dict[str, list[Figures]] = {name: [] for name in contenders}
    with ExitStack() as stack:
        for name, work in contenders.items():
            lines[name], end = context.Pipe()
            processes[name] = context.Process(target=_contend, args=(work, end))
            processes[name].start()
            stack.callback(processes[name].join)
            stack.callback(lines[name].close)  # whoever still waits for a turn then ends
            end.close()  # so that a death is noticed
        for line in lines.values():
            line.recv()
        for number in range(rounds):
            for name, line in lines.items():
                line.send(None)
                results[name].append(line.recv())
                if number < rounds - 1:
                    line.recv()
                else:
                    processes[name].join()  # so that its end is over before another's turn
    return results


def _contend(work: Work, line: Connection) -> None:
    start_tensorflow()
    work(Turn(line))


class Clock:
    """Times the epochs of a training, from now on, and the training steps in them."""

    def __init__(self) -> None:
        self._epochs: list[float] = []
        self._rates: list[float] = []
        self._epoch_start = self._steps_start = time.perf_counter()

    def begin_steps(self) -> None:
        """The training steps begin."""
        self._steps_start = time.perf_counter()

    def end_steps(self, n: int) -> None:
        """The training steps of n images are done."""
        self.note_rate(n / (time.perf_counter() - self._steps_start))

    def note_rate(self, rate: float) -> None:
        """Of the epoch's training steps, in images per second, where others have timed them."""
        self._rates.append(rate)

    def end_epoch(self) -> None:
        """The epoch is done, its validation too."""
        now = time.perf_counter()
        self._epochs.append(now - self._epoch_start)
        self._epoch_start = now

    def hand_in(self, turn: Turn) -> None:
        """Ends the turn: seconds of the first epoch and of the median later one, and the median rate of their steps."""
        cold, *warm = self._epochs
        _, *rates = self._rates
        turn.end(cold=cold, warm=statistics.median(warm), rate=statistics.median(rates))


def run_apart(work: Callable[..., Figures], **arguments: Any) -> Figures:
    """What `work` finds in a new process, and `megabytes`, that process' peak memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), start_tensorflow) as pool:
        return pool.submit(measure_memory, work, arguments).result()


def measure_memory(work: Callable[..., Figures], arguments: Mapping[str, Any]) -> Figures:
    """What `work` finds, and the peak memory of this process in MB of 2**20 bytes."""
    found = work(**arguments)
    return found | {"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def divide(first: Sequence[float], second: Sequence[float]) -> float:
    """The median over rounds of the ratio of two series: what was measured side by side is compared."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def format_median(series: Sequence[float], digits: int = 0) -> str:
    """Median and half of the range, as a share of the median."""
    middle = statistics.median(series)
    return f"{middle:,.{digits}f} ±{(max(series) - min(series)) / 2 / middle:.0%}"


def print_conditions(title: str, *, data: str, precision: str) -> None:
    """Prints what is measured and on what."""
    processor = f"{hardware.read_processor_name()}, {count_cores()} cores"
    memory = f"{hardware.read_total_bytes() / GIGABYTE:.1f} GiB"
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    print(f"\n{title}")
    print(f"machine:   {processor}, {memory}; {os.getloadavg()[0]:.1f} processes were busy in the last minute")
    print(f"versions:  Python {platform.python_version()}, {versions}")
    print(f"precision: {precision}")
    print(f"data:      {data}", flush=True)


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints columns as wide as they need to be, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    print()
    for row in (heading, *rows):
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([f"{row[0]:{widths[0]}}", *cells]).rstrip())
    print(end="", flush=True)


def print_rates(rates: Series, *, peers: Sequence[str], work: str = "") -> None:
    """A line for each contender: median rate, spread, and how many times as fast as each peer it is."""
    rows = [
        [name, format_median(series), *(f"{divide(series, rates[peer]):.2f}x" for peer in peers)]
        for name, series in rates.items()
    ]
    print_table([work, "images/s", *(f"vs {peer}" for peer in peers)], rows)


def print_goals(goals: Sequence[Goal]) -> None:
    """What was asked beside what was got; all benchmarks' lines have the same columns."""
    print(f"\n{'':66}{'asked':>10}{'got':>10}")
    for goal in goals:
        bound, digits = "<" if goal.is_most else ">", 0 if goal.unit in (" s", " ms", " MB") else 2
        asked, got = f"{bound} {goal.asked:g}{goal.unit}", f"{goal.got:.{digits}f}{goal.unit}"
        print(f"{goal.work:66}{asked:>10}{got:>10}  {'ok' if goal.is_met else 'missed'}")
    print(end="", flush=True)
