"""What people see of a training: a live bar in a terminal, and a line per epoch everywhere."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

RECENT = 5  # epochs from which the time left is told


class TrainingProgress:
    """Steps as a bar on a terminal; finished epochs as lines on standard output.

    Args:
        name: what is trained, for the bar.
        epochs: how many in all.
        steps_per_epoch: how many steps in each.
        first_epoch: how many are finished already.
    """

    def __init__(self, *, name: str, epochs: int, steps_per_epoch: int, first_epoch: int = 0) -> None:
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self._bar = tqdm(
            desc=name,
            total=epochs * steps_per_epoch,
            initial=first_epoch * steps_per_epoch,
            unit="step",
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
        )

    def advance(self, n_steps: int) -> None:
        """So many more steps are done."""
        self._bar.update(n_steps)

    def report_epoch(self, row: Mapping[str, float], *, images_per_second: float, seconds: Sequence[float]) -> None:
        """An epoch is done: `row` of the history, and the seconds of all epochs so far."""
        line = format_epoch(row, epochs=self.epochs, images_per_second=images_per_second, seconds=seconds)
        self._bar.write(line, file=sys.stdout)
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def format_epoch(row: Mapping[str, float], *, epochs: int, images_per_second: float, seconds: Sequence[float]) -> str:
    """One line about an epoch; `seconds` are those of all epochs so far, from which the time left follows."""
    left = round((epochs - row["epoch"]) * statistics.median(seconds[-RECENT:]))
    clock = f"{left // 60}:{left % 60:02}" if left < 3600 else f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"
        f"  loss {row['loss']:.4f} accuracy {row['accuracy']:.3f}"
        f"  val_loss {row['val_loss']:.4f} val_accuracy {row['val_accuracy']:.3f}"
        f"  {images_per_second:.0f} images/s  eta {clock}"
    )
