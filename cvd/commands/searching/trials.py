"""One point of a search: trained as the stage `train` does, measured on training and validation images only."""

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cvd import tracking
from cvd.commands.searching.points import Point
from cvd.evaluation.figures import SplitMeasures
from cvd.evaluation.fit import gather_evidence, judge_fit
from cvd.evaluation.lesson.search import Trial
from cvd.evaluation.measures import is_right, measure_split, tabulate_predictions
from cvd.evaluation.overfitting import read_history
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json, write_json
from cvd.runtime.params.graph import Entry, describe_configuration, place_variant

OUTPUTS = {"model": "model.keras", "history": "network.history.csv", "timing": "network.timing.json",
           "training": "network.training.json", "layers": "network.layers.md"}  # fmt: skip
SEEN = ("train", "validation")  # the splits that a search may look at before its end


@dataclass(frozen=True)
class Place:
    """Where a search reads and writes: the project's root, the folder of the search, its name."""

    root: Path
    folder: Path
    name: str

    @property
    def manifest(self) -> Path:
        """data/manifest.csv."""
        return self.root / "data/manifest.csv"

    def find_reads(self, entry: Entry) -> Path:
        """Find the folder that a variant's examples lie in."""
        return self.root / ("data/images" if entry.reads.endswith(".sha256") else entry.reads)


def check_sources(point: Point, base: str, place: Place) -> None:
    """Check that what a training reads is there.

    Raises:
        InputError: it is not.
    """
    entry = place_variant(point.params, base)
    for path in (place.manifest, place.find_reads(entry), place.root / entry.network):
        if not path.exists():
            raise InputError(f"{path.relative_to(place.root)} is not there: run `dvc repro train@{base}` first")


def make_trial_key(point: Point, base: str, place: Place) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Make the key of all that a trial follows from; return the digests of its data and its configuration too."""
    from cvd.training.identity import digest_inputs, make_key
    from cvd.training.plan import choose_precision

    entry, variant = place_variant(point.params, base), point.params.variants[base].model_dump()
    reads, network = place.find_reads(entry), place.root / entry.network
    precision = choose_precision(variant, point.params.train.precision)
    configuration = describe_configuration(point.params, base) | {"precision": precision}
    data = digest_inputs(variant, manifest=place.manifest, reads=reads, network=network)
    return make_key({**configuration, "data": data}, script=Path(__file__)), data, configuration


def run_trial(point: Point, base: str, place: Place) -> tuple[Trial, Path]:
    """Train and measure a point, or read what was measured before; return its figures and the place of its network.

    A half-done training goes on where it was. One that cannot work (its loss is not finite, memory is short) becomes a
    trial with a fault. Where memory was short, the same command tries again.
    """
    key, data, configuration = make_trial_key(point, base, place)
    from cvd.training.course import DivergedError
    from cvd.training.devices import MemoryShortError

    folder = place.folder / "trials" / key[:16]
    record = folder / "trial.json"
    if record.is_file():
        trial: Trial = read_json(record)
        return trial, folder / OUTPUTS["model"]
    folder.mkdir(parents=True, exist_ok=True)
    outputs = {name: folder / file for name, file in OUTPUTS.items()}
    begun: Any = {"label": point.label, "settings": dict(point.settings), "fault": ""}
    try:
        with _track(point, base, place, key, data, folder / "run.json") as run:
            _train(point, base, place, configuration, outputs, key, run)
            trial = begun | _measure(point, base, place, outputs)
            figures = {f"{split}/accuracy": trial[split] for split in SEEN}  # type: ignore[literal-required]
            run.log_figures(figures | {"overfitting/accuracy_gap": trial["gap"]}, "search")
    except MemoryShortError as error:
        return begun | {"fault": str(error)}, outputs["model"]
    except DivergedError as error:
        trial = begun | {"fault": str(error)}
    write_json(trial, record)
    return trial, outputs["model"]


def _track(
    point: Point, base: str, place: Place, key: str, data: dict[str, str], note: Path
) -> "AbstractContextManager[tracking.TrainingRun]":
    """Open the trial's run in MLflow, in the group of the search; its variant's name there says what differs."""
    name = f"{base} {point.label}"
    params = point.params.model_dump(mode="json")
    params["variants"] = {name: params["variants"][base]}
    return tracking.track_training(
        variant=name, stage="search", params=params, data=data, resume_key=key, search=place.name, note=note
    )


def _train(
    point: Point,
    base: str,
    place: Place,
    configuration: dict[str, Any],
    outputs: dict[str, Path],
    key: str,
    run: "tracking.TrainingRun",
) -> None:
    import keras

    from cvd.training.fitting import train_variant
    from cvd.training.plan import Sources
    from cvd.training.state import open_state_folder

    entry = place_variant(point.params, base)
    sources = Sources(place.find_reads(entry), place.root / entry.network, place.manifest)
    size_px = getattr(point.params, entry.pixels).size_px
    keras.backend.clear_session()  # the networks before this one
    with (
        (place.folder / "log.txt").open("a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        open_state_folder(place.root / ".cvd/training", key) as state,
    ):
        print(f"\n{point.label}")
        train_variant(
            base, configuration, sources, outputs, size_px=size_px, state_folder=state, on_epoch=run.log_epoch
        )


def _measure(point: Point, base: str, place: Place, outputs: dict[str, Path]) -> dict[str, Any]:
    """Measure the saved network on clean training and validation images."""
    predictions = predict(point, base, place, outputs["model"], SEEN)
    params, splits = point.params.evaluate, {}
    for split in SEEN:
        rows = predictions[predictions["split"] == split]
        splits[split] = measure_split(rows, threshold=0.5, n_bins=params.calibration_bins)
    history, training, timing = read_history(outputs["history"]), read_json(outputs["training"]), outputs["timing"]
    evidence = gather_evidence(splits["train"], splits["validation"], training["saved_epoch"])
    limits = params.model_dump(exclude={"calibration_bins"})
    validation: SplitMeasures = splits["validation"]
    right = is_right(predictions[predictions["split"] == "validation"])
    return {
        "parameters": training["parameters"],
        "epochs": training["epochs"],
        "saved_epoch": training["saved_epoch"],
        "train": evidence.train_accuracy,
        "validation": evidence.validation_accuracy,
        "validation_loss": validation["loss"],
        "gap": evidence.train_accuracy - evidence.validation_accuracy,
        "state": judge_fit(history, evidence, **limits)["state"],
        "seconds": read_json(timing)["seconds"],
        "right": "".join(str(int(value)) for value in right),
    }


def predict(point: Point, base: str, place: Place, model: Path, splits: tuple[str, ...]) -> pd.DataFrame:
    """Predict the images of some splits by a saved network; a table as of `tabulate_predictions`."""
    from cvd.data.images.manifest import read_manifest
    from cvd.models.networks.prediction import predict_splits
    from cvd.models.networks.saving import load_network

    variant, manifest = point.params.variants[base], read_manifest(place.manifest)
    folder = place.find_reads(place_variant(point.params, base))
    network = load_network(model)
    logits = predict_splits(network, variant.input, folder, manifest, share=variant.share, splits=splits)
    rows = manifest[manifest["path"].isin(list(logits))]
    return tabulate_predictions(rows, [logits[path] for path in rows["path"]])
