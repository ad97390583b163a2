"""What is done to runs of an open store, and the one path that completes a run from its record."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.runtime.experiments import WORKSPACE
from cvd.tracking.model import log_model
from cvd.tracking.records import MODEL_MD5, PART, SPLITS, Part, RunRecord, complete_epoch, is_dead, now_ms
from cvd.tracking.store import Store, lock_store
from cvd.tracking.view import COLOUR, choose_colour

if TYPE_CHECKING:
    from mlflow.entities import Run

GROUPS = "groups"  # the experiments that a run belongs to: that of its own, and those that use its model untouched
MOST_GROUPS = 100  # MLflow keeps 8,000 characters
EVALUATED = (*SPLITS, "overfitting", "training")  # what the evaluation's figures begin with
DIGEST = 36  # characters of a data set's digest that MLflow keeps
BATCH = 900  # metrics in one request; MLflow takes 1,000


def find_runs(store: Store, tags: Mapping[str, str], *, running: bool = False) -> "list[Run]":
    """Runs that carry all of `tags`, newest first; deleted ones are not found."""
    terms = [f"tags.`{name}` = {_quote(value)}" for name, value in tags.items()]
    terms += ["attributes.status = 'RUNNING'"] if running else []
    query, order = " and ".join(terms), ["attributes.start_time DESC"]
    return list(store.client.search_runs([store.experiment_id], query, order_by=order, max_results=1000))


def _quote(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"


def find_training(runs: "Sequence[Run]") -> "Run | None":
    """The newest that trained; one that only evaluates points to it, or to nothing."""
    return next((run for run in runs if run.data.tags.get("kind") == "training"), None)


def join_group(store: Store, run: "Run", experiment: str) -> None:
    """Add an experiment that uses a run's model untouched to the run's tag `groups`, newest first."""
    with lock_store():  # experiments run at once
        names = store.client.get_run(run.info.run_id).data.tags.get(GROUPS, "").split()
        if experiment not in names:
            store.client.set_tag(run.info.run_id, GROUPS, _format_groups([experiment, *names][:MOST_GROUPS]))


def _format_groups(names: Sequence[str]) -> str:
    """Names between blanks, so that `tags.groups LIKE "% NAME %"` finds whole ones."""
    return f" {' '.join(names)} "


def _describe_run(record: RunRecord) -> str:
    """The run's description: how to get from it to the experiment, and where its pictures are."""
    baseline = f"commit `{record.tags.get('dvc.baseline_rev', 'unknown')[:7]}`"
    name = record.experiment
    origin = f"DVC experiment `{name}` on {baseline}. Its files: `dvc exp apply {name}`. Its runs: `cvd runs {name}`."
    if "search" in record.tags:
        origin = f"A trial of `cvd search --name {name}` on {baseline}. All of them: `cvd runs {name}`."
    if name == WORKSPACE:
        origin = f"Made by `dvc repro` on {baseline}."
    return f"{origin}\n\nCurves: *Model metrics*. Pictures: *Artifacts*, in `evaluation`, `filters`, `gradcam`."


def start_run(store: Store, record: RunRecord) -> str:
    """Make the record's run, with its tags, parameters and data set; return its id and keep it in the record."""
    tags = record.tags | {"variant": record.variant, "kind": record.kind, GROUPS: _format_groups([record.experiment])}
    taken = [other.data.tags.get(COLOUR, "") for other in find_runs(store, {"variant": record.variant})]
    tags |= {"mlflow.note.content": _describe_run(record)} | choose_colour(record.variant, taken)
    run = store.client.create_run(store.experiment_id, start_time=record.start_ms, tags=tags, run_name=record.name)
    record.run_id = run.info.run_id
    _log_inputs(store, record)
    return record.run_id


def _log_inputs(store: Store, record: RunRecord) -> None:
    """Log parameters, at most a hundred, and data sets."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    params = [Param(name, value) for name, value in record.params.items()]
    store.client.log_batch(str(record.run_id), params=params, synchronous=True)
    sets = []
    for name, digest in record.data.items():
        data = Dataset(name=name, digest=digest[:DIGEST], source_type="local", source=json.dumps({"uri": name}))
        sets.append(DatasetInput(data, tags=[InputTag("mlflow.data.context", SPLITS.get(name, "training"))]))
    if sets:
        store.client.log_inputs(str(record.run_id), datasets=sets)


def log_epochs(
    store: Store, run_id: str, epochs: Sequence[tuple[int, int, Mapping[str, float]]], last: Mapping[str, float] = {}
) -> None:
    """Log curves: each epoch's metrics at step = epoch, and figures that belong to the `last` one only."""
    from mlflow.entities import Metric

    points = [
        Metric(name, value, moment, epoch)
        for epoch, moment, metrics in epochs
        for name, value in complete_epoch(metrics).items()
    ]
    points += [Metric(name, value, epochs[-1][1], epochs[-1][0]) for name, value in last.items()]
    for first in range(0, len(points), BATCH):
        store.client.log_batch(run_id, metrics=points[first : first + BATCH], synchronous=True)


def find_steps(store: Store, run_id: str) -> set[int]:
    """The epochs whose metrics a run has."""
    return {point.step for point in store.client.get_metric_history(run_id, "loss")}


def log_tags(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags, all in one request."""
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()], synchronous=True)


def end_run(store: Store, run_id: str, status: str, end_ms: int | None = None) -> None:
    """End a run: FINISHED, FAILED or KILLED."""
    store.client.set_terminated(run_id, status=status, end_time=end_ms or now_ms())


def mark_dead_runs(store: Store) -> list[str]:
    """End runs whose process is gone (killed, or the machine restarted) as KILLED; return their names."""
    dead = [run for run in find_runs(store, {}, running=True) if is_dead(run.data.tags)]
    for run in dead:
        store.client.set_tag(run.info.run_id, "process.lost", "true")
        end_run(store, run.info.run_id, "KILLED")
    return [str(run.info.run_name) for run in dead]


def complete_run(store: Store, record: RunRecord) -> list[str]:
    """Bring a record into the run where it belongs, made if missing; nothing that is there is sent again.

    A training has a run of its own. An evaluation goes to the run of its model in its experiment. Without one, a run of
    another experiment that has all of this joins the experiment's group. Otherwise a run of kind `evaluation` is made,
    whose tag `source_run_id` points to the training. It returns what was sent, in words.
    """
    if record.kind == "evaluation":
        _find_home(store, record)
        return fill_run(store, record) if record.run_id else []
    if record.run_id is None:
        record.run_id = _find_preview(store, record)
    if record.run_id is None:
        start_run(store, record)
    else:
        log_tags(store, record.run_id, record.tags | {"kind": record.kind})
        if not store.client.get_run(record.run_id).data.params:
            _log_inputs(store, record)
    words = fill_run(store, record)
    end_run(store, str(record.run_id), record.status, record.end_ms)
    return words


def _find_preview(store: Store, record: RunRecord) -> str | None:
    """Find what a training that has ended showed of itself before its server went: a run without a model."""
    own = {name: record.tags[name] for name in ("run_key", "params.digest", "dvc.exp_name") if name in record.tags}
    for run in find_runs(store, {"variant": record.variant, "kind": "training"} | own):
        if "run_key" in own or (run.info.status == "KILLED" and MODEL_MD5 not in run.data.tags):
            record.tags |= {"process.lost": "false"}
            return str(run.info.run_id)
    return None


def _find_home(store: Store, record: RunRecord) -> None:
    """Set the record's run, made if need be; None where there is nothing to do."""
    runs = find_runs(store, {"variant": record.variant, MODEL_MD5: record.tags[MODEL_MD5]})
    source = find_training(runs)
    home = next((run for run in runs if run.data.tags.get("dvc.exp_name") == record.experiment), None)
    if home is not None:
        record.run_id = home.info.run_id
    elif source is not None and record.digest_parts().items() <= source.data.tags.items():
        join_group(store, source, record.experiment)
    else:
        if source is not None:
            _copy_source(record, source)
        end_run(store, start_run(store, record), "FINISHED")


def _copy_source(record: RunRecord, source: "Run") -> None:
    """Give a record what its run shares with the training's, so that tables compare: parameters and final figures."""
    record.tags["source_run_id"] = source.info.run_id
    record.params = dict(source.data.params)
    figures = {name: value for name, value in source.data.metrics.items() if name.partition("/")[0] in EVALUATED}
    if PART.format("evaluation") in source.data.tags:
        record.parts = {"evaluation": Part(figures)} | record.parts


def fill_run(store: Store, record: RunRecord) -> list[str]:
    """Log what the record's run lacks of epochs, model and parts; return that in words."""
    run, run_id, words = store.client.get_run(record.run_id), str(record.run_id), []
    sent = find_steps(store, run_id) if record.epochs else set()
    if missing := [entry for entry in record.epochs if entry[0] not in sent]:
        log_epochs(store, run_id, missing)
        words.append(f"{len(missing)} epochs")
    if record.model is not None and not (run.outputs and run.outputs.model_outputs):
        log_model(store, run_id, record.variant, record.model, record.classes)
        words.append("model")
        run = store.client.get_run(run_id)
    for folder, part in record.parts.items():
        tag = {PART.format(folder): part.digest()}
        if not tag.items() <= run.data.tags.items():
            _log_figures(store, run, part.figures)
            _upload(store, run_id, part.files, folder)
            for key, step, path in part.name_images(folder, record.variant):
                log_image(store, run_id, path, key=key, step=step)
            log_tags(store, run_id, tag)
            words.append(f"{len(part.files)} files of {folder}" if part.files else f"figures of {folder}")
    return words


def _log_figures(store: Store, run: "Run", figures: Mapping[str, float]) -> None:
    """Log final figures; those of a split on the run's model too, with the data set that it was measured on."""
    from mlflow.entities import Metric

    model = run.outputs.model_outputs[0].model_id if run.outputs and run.outputs.model_outputs else None
    points = []
    for name, value in figures.items():
        split = name.partition("/")[0]
        digest = run.data.tags.get(f"data.{split}") if split in SPLITS and model else None
        ties = {"model_id": model, "dataset_name": split, "dataset_digest": digest[:DIGEST]} if digest else {}
        points.append(Metric(name, value, now_ms(), 0, run_id=run.info.run_id, **ties))
    store.client.log_batch(run.info.run_id, metrics=points, synchronous=True)


def log_image(store: Store, run_id: str, path: Path, *, key: str, step: int) -> None:
    """Log a picture for MLflow's image grid, where runs with the same key stand side by side and steps are a slider."""
    from PIL import Image

    with Image.open(path) as image:
        vars(image)["save"] = partial(shutil.copyfile, path)  # PNG already: encoding it again takes twice as long
        store.client.log_image(run_id, image, key=key, step=step, synchronous=True)


def _upload(store: Store, run_id: str, files: Mapping[str, Path], folder: str) -> None:
    """Upload files into a folder of the run's artifacts, all in one call."""
    with tempfile.TemporaryDirectory() as staged:
        for name, path in files.items():
            target = Path(staged, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        if files:
            store.client.log_artifacts(run_id, staged, artifact_path=folder)
