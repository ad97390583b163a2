"""Learning curves as drawings inside the page, which a cross-hair can read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cvd.evaluation.overfitting import find_best_epoch
from cvd.evaluation.verdict import format_percent

LEFT, RIGHT, TOP, BOTTOM = 38, 232, 8, 132  # of the axes, in a drawing of 240 x 150
KINDS = ("accuracy", "loss")
ROBUST = 3  # times the 95th percentile: higher losses are cut off, since one bad epoch must not flatten the rest


@dataclass(frozen=True)
class Panel:
    """Accuracy or loss of one network: paths for SVG, and the axes' marks."""

    kind: str
    low: float
    high: float
    train: str
    validation: str
    gap: str  # the area between the two
    best: tuple[float, float]  # where the validation loss is lowest
    marks: list[tuple[float, str]]  # (y, what it stands for)


def draw_panels(curves: Mapping[str, pd.DataFrame]) -> dict[str, list[Panel]]:
    """Draw accuracy and loss of each network, all on the same vertical axes, each on its own axis of epochs."""
    limits = {kind: _find_limits(curves, kind) for kind in KINDS}
    return {name: [_draw_panel(frame, kind, *limits[kind]) for kind in KINDS] for name, frame in curves.items()}


def list_values(curves: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, list[float | None]]]:
    """List each network's curves, rounded for reading; None where a value is not a number."""
    names = [f"{prefix}{kind}" for kind in KINDS for prefix in ("", "val_")]
    return {
        variant: {name: [round(v, 4) if np.isfinite(v) else None for v in frame[name].tolist()] for name in names}
        for variant, frame in curves.items()
    }


def tabulate_last(curves: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Tabulate each network's values at its last epoch, as the cross-hair shows them."""
    keys = [f"{prefix}{kind}" for kind in KINDS for prefix in ("", "val_")]
    return [
        {"variant": name, "epoch": len(frame), **{key: float(frame[key].iloc[-1]) for key in keys}}
        for name, frame in curves.items()
    ]


def _find_limits(curves: Mapping[str, pd.DataFrame], kind: str) -> tuple[float, float]:
    values = np.concatenate([frame[[kind, f"val_{kind}"]].to_numpy().ravel() for frame in curves.values()])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    if kind == "accuracy":
        return float(np.floor(10 * min(values.min(), 0.9)) / 10), 1.0
    return 0.0, max(1e-3, min(float(values.max()), ROBUST * float(np.quantile(values, 0.95))))


def _draw_panel(frame: pd.DataFrame, kind: str, low: float, high: float) -> Panel:
    def place(values: Sequence[float] | np.ndarray) -> np.ndarray:
        shares = (np.clip(np.nan_to_num(np.asarray(values, np.float64), nan=high), low, high) - low) / (high - low)
        return BOTTOM - shares * (BOTTOM - TOP)

    n = len(frame)
    x = np.linspace(LEFT, RIGHT, n) if n > 1 else np.array([(LEFT + RIGHT) / 2])
    train, validation = place(frame[kind].to_numpy()), place(frame[f"val_{kind}"].to_numpy())
    best = find_best_epoch(frame["val_loss"]) - 1
    steps = np.linspace(low, high, 3)
    texts = [format_percent(step, 0) if kind == "accuracy" else f"{step:.2g}" for step in steps]
    return Panel(
        kind,
        low,
        high,
        _join(x, train),
        _join(x, validation),
        f"{_join(np.concatenate([x, x[::-1]]), np.concatenate([train, validation[::-1]]))}Z",
        (round(float(x[best]), 1), round(float(validation[best]), 1)),
        list(zip(place(steps).round(1).tolist(), texts, strict=True)),
    )


def _join(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
