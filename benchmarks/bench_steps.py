"""A training step: how much of it is spent waiting for its batch, and how much of the processor's peak it reaches.

The step is Keras' own, of the model that the train stage would train, with the batch taken in the graph, as `fit` does.
Asking is the time from asking for a batch to having it. Blocks of steps alternate with blocks on a batch that is held
ready, while the input rests: what asking takes then is the cost of the clock and of the handing over, not of the
input. Waiting is what asking takes beyond that. The peak is that of large matrix
products in the same run; a network's arithmetic is counted layer by layer, multiply and add apart: forward, and twice
that backward, but for the pixels' gradient.
"""

import argparse
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contest import Goal, Series, divide, format_median, print_conditions, print_goals, print_table
from benchmarks.workload import (
    BATCH,
    KINDS,
    SIDE_PX,
    SIZE,
    hold,
    load_project,
    train_variant,
    write_both_shards,
    write_folder,
)
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import keras

    from cvd.data.examples.reading import Examples

BLOCK = 15  # steps that are timed
Step = Callable[[Iterator[Any]], Any]
ALL_KINDS = "augmented, all kinds"
STEP, ASK, ALONE, FLOOR = "step", "asking", "batch held", "asking then"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400, help="training images, a multiple of the batch size")
    parser.add_argument("--blocks", type=int, default=3, help=f"blocks of {BLOCK} steps, of each kind")
    parser.add_argument("--side", type=int, default=4096, help="of the square matrices")
    args = parser.parse_args()
    start_tensorflow()
    logging.getLogger("tensorflow").setLevel("ERROR")  # it wonders at so many trainings
    with tempfile.TemporaryDirectory() as temporary:
        cases = make_cases(Path(temporary), args.images)
        models = {variant: make_model(variant, examples) for variant, examples in dict(cases.values()).items()}
        works = {
            name: StepWork(name, variant, *models[variant], examples) for name, (variant, examples) in cases.items()
        }
        times: dict[str, Series] = {name: {part: [] for part in (STEP, ASK, ALONE, FLOOR)} for name in works}
        peaks: Series = {"bfloat16": [], "float32": []}
        allow_timestamps()
        for number in range(args.blocks + 1):
            for name, work in works.items():
                for part, seconds in work.time_block().items():
                    times[name][part] += [seconds] * (number > 0)  # the first block traces
            for kind, series in peaks.items():
                series.append(multiply_matrices(args.side, kind))
        layers = count_arithmetic(works["baseline"].model)
    data = f"{args.images:,} JPEG files of {SIDE_PX} px, batches of {BATCH} at {SIZE} px, {args.blocks} blocks"
    print_conditions("A training step", data=data, precision=load_project().train.precision)
    report_waiting(times)
    report_arithmetic(layers, times["baseline"], peaks)
    goals = [Goal("a step of `baseline`", 30, 1000 * statistics.median(times["baseline"][STEP]), " ms", is_most=True)]
    goals += [Goal(f"waiting for input: {name}", 2, share_waiting(series), "%", True) for name, series in times.items()]
    ratio = divide(times[ALL_KINDS][STEP], times["baseline"][STEP])
    print_goals([*goals, Goal(f"{ALL_KINDS} vs baseline, seconds per image", 1.1, ratio, is_most=True)])


def make_cases(folder: Path, n: int) -> dict[str, tuple[str, Any]]:
    """Make what is trained: name -> variant and its examples."""
    from cvd.data.examples.reading import read_files, read_shards

    manifest = write_folder(folder / "images", {"train": n})
    write_both_shards(folder, manifest)
    streamed = read_files(folder / "images", manifest, "train", size_px=SIZE)
    held = hold(streamed)
    return {
        "baseline": ("baseline", held),
        "augmented": ("augmented", held),
        ALL_KINDS: ("augmented", held),
        "tfrecord": ("tfrecord", hold(read_shards(folder / "raw", "train"))),
        "baseline, files streamed": ("baseline", streamed),
        "augmented, files streamed": ("augmented", streamed),
        "tfrecord, raw shards streamed": ("tfrecord", read_shards(folder / "raw", "train")),
        "tfrecord, jpeg shards streamed": ("tfrecord", read_shards(folder / "jpeg", "train")),
    }


def make_model(variant: str, examples: "Examples") -> tuple["keras.Model", Step]:
    """Make the model as the train stage compiles it, and its training step, which returns how long it waited."""
    import tensorflow as tf

    few = replace(examples, paths=examples.paths[:BATCH], labels=examples.labels[:BATCH])
    model = train_variant(variant, few, few, epochs=1).model

    @tf.function
    def step(batches: Iterator[Any]) -> tf.Tensor:
        begin = tf.timestamp()
        with tf.control_dependencies([begin]):
            batch = next(batches)
        with tf.control_dependencies(batch):
            end = tf.timestamp()
        model.train_step(batch)
        return end - begin

    return model, step


def allow_timestamps() -> None:
    """Switch op determinism off, which forbids timestamps; training is as fast without it."""
    from tensorflow.python.framework import config

    config.disable_op_determinism()


class StepWork:
    """A model's training step, and two inputs without end: its own, and one batch over and over."""

    def __init__(self, name: str, variant: str, model: "keras.Model", step: Step, examples: "Examples") -> None:
        import tensorflow as tf

        from cvd.data.examples.pipeline import READY, make_training_dataset
        from cvd.training.plan import choose_augment

        params = load_project()
        block = params.variants[variant].model_dump()
        ranges = params.augment.model_dump() | (KINDS if name == ALL_KINDS else {})
        augment = choose_augment(block, ranges, seed=params.seed)
        batches = make_training_dataset(examples, batch_size=BATCH, seed=1, epochs=1_000_000, augment=augment)
        self.model = model
        self._step = step
        self._batches = iter(batches)
        self._held = iter(tf.data.Dataset.from_tensors(next(self._batches)).repeat())
        self._n_ready = READY

    def time_block(self) -> dict[str, float]:
        """Measure seconds per step, and of asking in it, with the input and with a batch that is held."""
        for _ in range(self._n_ready):  # these batches were made while others had their turn
            self._step(self._batches)
        step, ask = self._time_steps(self._batches)
        alone, floor = self._time_steps(self._held)
        return {STEP: step, ASK: ask, ALONE: alone, FLOOR: floor}

    def _time_steps(self, batches: Iterator[Any]) -> tuple[float, float]:
        begin = time.perf_counter()
        waiting = sum(float(self._step(batches)) for _ in range(BLOCK))
        return (time.perf_counter() - begin) / BLOCK, waiting / BLOCK


def share_waiting(times: Series) -> float:
    """Compute the percent of a step that asking for a batch takes beyond asking for a held one."""
    waiting = [ask - floor for ask, floor in zip(times[ASK], times[FLOOR], strict=True)]
    return max(0.0, 100 * divide(waiting, times[STEP]))


def report_waiting(times: dict[str, Series]) -> None:
    rows = []
    for name, parts in times.items():
        middle = {part: f"{1000 * statistics.median(series):.2f}" for part, series in parts.items()}
        whole = format_median([1000 * seconds for seconds in parts[STEP]], 1)
        shares = f"{share_waiting(parts):.2f}%", f"{divide(parts[STEP], parts[ALONE]):.2f}x"
        rows.append([name, whole, middle[ASK], middle[ALONE], middle[FLOOR], *shares])
    print_table(["milliseconds", STEP, ASK, ALONE, FLOOR, "share waiting", "vs batch held"], rows)


def multiply_matrices(side: int, kind: str) -> float:
    """Measure operations per second of a matrix product of dtype `kind`: 2 for each multiply-add."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_uniform((side, side), (1, 2)), kind)
    start = time.perf_counter()
    tf.linalg.matmul(matrix, matrix)
    return 2 * side**3 / (time.perf_counter() - start)


def count_arithmetic(model: "keras.Model") -> dict[str, tuple[int, int]]:
    """Count multiply-adds per image of each layer that has a kernel: (forward, forward and backward)."""
    counts: dict[str, tuple[int, int]] = {}
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            positions = math.prod(layer.output.shape[1:-1])
            forward = positions * math.prod(layer.kernel.shape)
            counts[layer.name] = (forward, forward * (3 if counts else 2))  # pixels need no gradient
    return counts


def report_arithmetic(layers: dict[str, tuple[int, int]], times: Series, peaks: Series) -> None:
    rows = [[name, *(f"{n / 1e6:.1f}" for n in counts)] for name, counts in layers.items()]
    total = sum(training for _, training in layers.values())
    rows.append(["all", f"{sum(forward for forward, _ in layers.values()) / 1e6:.1f}", f"{total / 1e6:.1f}"])
    print_table(["million multiply-adds per image", "forward", "training"], rows)
    reached = 2 * total * BATCH / statistics.median(times[ALONE])
    lines = [["a step of baseline", f"{reached / 1e9:,.0f}", ""]]
    for kind, series in peaks.items():
        lines.append(
            [
                f"matrix product, {kind}",
                format_median([rate / 1e9 for rate in series]),
                f"{reached / statistics.median(series):.1%}",
            ]
        )
    print_table(["arithmetic", "GFLOP/s", "share reached"], lines)


if __name__ == "__main__":
    main()
