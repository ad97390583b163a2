"""Whether a network is under-fitted, well fitted or over-fitted, by stated rules, and which knob to turn next."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cvd.evaluation.figures import Metrics, OverfittingRow, SplitMeasures
from cvd.evaluation.overfitting import find_best_epoch, find_onset, smooth_losses
from cvd.evaluation.statistics import newcombe_interval
from cvd.runtime.vocabulary import SPLITS

UNDER, WELL, OVER = "under-fitted", "well fitted", "over-fitted"
DETAILS = ("cause", "is_falling", "gap_low")  # of `Fit`, beside `state`
CURVE_FIGURES = ("accuracy_gap", "loss_gap", "validation_loss", "validation_accuracy")
GUESS = 0.5  # accuracy without looking, of two classes of equal size
# Why, and the state that it means; the rules of `judge_fit`, in their order.
STATES = {"passed": OVER, "gap": OVER, "little": UNDER, "unstable": UNDER, "unfinished": UNDER, "sound": WELL}

SEEDS = "dvc exp run --queue -S 'seed=range(2,5)' && dvc queue start && cvd compare --seeds"
MORE_IMAGES = "dvc exp run -S split.train=null"


class Fit(TypedDict):
    """Whether a network is under-fitted, well fitted or over-fitted, and why."""

    state: str  # UNDER, WELL or OVER
    cause: str  # a key of STATES
    is_falling: bool  # the validation loss, at the last epoch
    gap_low: float  # as of `Evidence`


class Evidence(NamedTuple):
    """What is known of the network that is judged: its accuracies, and which epoch of the history it is of."""

    train_accuracy: float
    validation_accuracy: float
    gap_low: float  # lower end of the gap's 95% interval
    saved_epoch: int  # from 1


def read_evidence(history: pd.DataFrame) -> Evidence:
    """Read the evidence from a history alone: its last epoch, and the gap as it stands, without an interval."""
    train, validation = (float(history[name].iloc[-1]) for name in ("accuracy", "val_accuracy"))
    return Evidence(train, validation, train - validation, len(history))


def gather_evidence(train: SplitMeasures, validation: SplitMeasures, saved_epoch: int) -> Evidence:
    """Gather the evidence of a saved network, measured on clean images."""
    counts = [(round(split["accuracy"] * split["n_images"]), split["n_images"]) for split in (train, validation)]
    low, _ = newcombe_interval(*counts[0], *counts[1])
    return Evidence(train["accuracy"], validation["accuracy"], low, saved_epoch)


def judge_fit(
    history: pd.DataFrame,
    evidence: Evidence | None = None,
    *,
    onset_tolerance: float,
    notable_gap: float,
    learned_accuracy: float,
) -> Fit:
    """Judge a network by the first of these rules that holds (the terms: Goodfellow et al. 2016, section 5.2).

    1. `passed`, over-fitted: its validation loss rose for good (`find_onset`) while the training loss went on falling,
       and the network is of an epoch after that and after the lowest validation loss.
    2. `gap`, over-fitted: the gap is surely (the lower end of its 95% interval) at least `notable_gap`. A network that
       has not reached `learned_accuracy` must also have lost, from training to validation images, two thirds of what
       it gained over guessing: 75% against 55% is over-fitted, 66% against 58% is for rule 4.
    3. `unstable`, under-fitted: training and validation loss rose for good, and the network is of an epoch after that,
       or it has not reached `learned_accuracy`.
    4. `little`, under-fitted: it has not reached `learned_accuracy` on its own training images.
    5. `unfinished`, under-fitted: it is less than halfway from there to 100%, and its validation loss still falls.
    6. `sound`, well fitted: none of these.

    Args:
        history: models/VARIANT.history.csv, a row per epoch.
        evidence: of the network; None: of the history's last epoch.
        onset_tolerance: share by which a loss must rise, or fall, to count; >= 0.
        notable_gap: training minus validation accuracy, 0..1.
        learned_accuracy: training accuracy, 0.5..1.
    """
    evidence = evidence or read_evidence(history)
    train, validation = evidence.train_accuracy, evidence.validation_accuracy
    onset = find_onset(history["val_loss"], tolerance=onset_tolerance)
    is_falling = is_still_falling(history["val_loss"], tolerance=onset_tolerance)
    has_learned = train >= learned_accuracy
    has_lost_most = validation - GUESS <= (train - GUESS) / 3
    losses = smooth_losses(history["loss"])
    rises_too = onset is not None and losses[-1] > losses[onset - 1] * (1 + onset_tolerance)
    is_past = onset is not None and evidence.saved_epoch > max(onset, find_best_epoch(history["val_loss"]))
    if is_past and not rises_too:
        cause = "passed"
    elif evidence.gap_low >= notable_gap and (has_learned or has_lost_most):
        cause = "gap"
    elif rises_too and (is_past or not has_learned):
        cause = "unstable"
    elif not has_learned:
        cause = "little"
    else:
        cause = "unfinished" if is_falling and train < (1 + learned_accuracy) / 2 else "sound"
    return {"state": STATES[cause], "cause": cause, "is_falling": is_falling, "gap_low": evidence.gap_low}


def is_still_falling(val_loss: ArrayLike, *, tolerance: float) -> bool:
    """True where the median loss of the last quarter of the epochs is lower, by more than `tolerance`, than before.

    Before: of the quarter before that. Fewer than two epochs tell nothing.
    """
    losses = np.asarray(val_loss, np.float64)
    n = max(1, len(losses) // 4)
    last, before = losses[-n:], losses[-2 * n : -n]
    return bool(len(before) and np.median(last) < np.median(before) * (1 - tolerance))


def describe_fit(name: str, metrics: Metrics, block: Mapping[str, Any] | None) -> OverfittingRow:
    """Gather a variant's figures of over-fitting, as `OverfittingRow` explains them; `block` is of params.yaml."""
    overfitting, training = metrics["overfitting"], metrics["training"]
    figures: dict[str, Any] = dict(metrics)
    gaps: dict[str, Any] = {gap["at"]: gap for gap in overfitting["curve_gaps"]}  # of epochs with a number
    details = dict(overfitting["details"][0])
    fit = cast(Fit, {"state": overfitting["state"]} | {key: details.pop(key) for key in DETAILS})
    row = {
        "variant": name,
        "state": fit["state"],
        "cause": fit["cause"],
        "knob": choose_knob(name, fit, block) if block else None,
        "epochs": training["epochs"],
        "saved_epoch": training["details"][0].get("saved_epoch"),
        "best_epoch": overfitting["best_epoch"],
        "onset_epoch": overfitting["onset_epoch"],
        **{f"{split}_{key}": figures[split][key] for key in ("accuracy", "loss") for split in SPLITS},
        "accuracy_gap": overfitting["accuracy_gap"],
        "loss_gap": overfitting["loss_gap"],
        **{f"{key}_{at}": gaps.get(at, {}).get(key) for key in CURVE_FIGURES for at in ("best", "last")},
        **details,
    }
    return cast(OverfittingRow, row)


def choose_knob(name: str, fit: Fit, block: Mapping[str, Any]) -> dict[str, str]:
    """Choose what to turn next for a variant, as `words` and a `command`, by its block of params.yaml."""
    if fit["state"] == WELL:
        return {"words": "nothing to cure: see whether other seeds agree", "command": SEEDS}
    words, *settings = _cure_overfitting(block) if fit["state"] == OVER else _cure_underfitting(fit, block)
    command = f"cvd search {name} {' '.join(settings)}" if settings else MORE_IMAGES
    return {"words": words, "command": command}


def _cure_overfitting(block: Mapping[str, Any]) -> tuple[str, ...]:
    """Choose a cure that the block has not yet: words, then settings for `cvd search`; without any, more images."""
    if block["input"] != "features" and not block["augment"] and block.get("head") != "imagenet":
        return "augment the training images", "augment=false,true"
    if block["dropout"] < 0.5:
        return "more dropout", f"dropout={block['dropout']:g},0.5"
    if not block["l2"] and not block["weight_decay"]:
        return "a penalty on large weights", "l2=0,1e-4,1e-3"
    if block["share"] < 1:
        return "all of the training images", f"share={block['share']:g},1"
    return ("more training images, or a pretrained network",)


def _cure_underfitting(fit: Fit, block: Mapping[str, Any]) -> tuple[str, ...]:
    """Choose what gives the network more time, less to bear, or more capacity: words, then settings."""
    if fit["cause"] == "unstable":
        rate = block["learning_rate"]
        return "a lower learning rate", f"learning_rate={rate:g},{rate / 3:.1g}"
    if fit["is_falling"]:
        epochs = block["epochs"]
        return "more epochs", f"epochs={epochs},{2 * epochs}"
    if block["augment"]:
        return "no augmentation, which makes the task harder", "augment=true,false"
    for key in ("dropout", "l2", "weight_decay"):
        if block[key]:
            return f"less {key.replace('_', ' ')}", f"{key}={block[key]:g},{block[key] / 4:g}"
    if block["network"] == "backbone":
        return "let its last blocks learn too", "input=files", "unfreeze=0,3"
    if "width" not in block:
        rate = block["learning_rate"]
        return "a higher learning rate", f"learning_rate={rate:g},{min(3 * rate, 1):.1g}"
    return "a larger network", f"width={block['width']},{2 * block['width']}"
