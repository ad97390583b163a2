"""What could not be sent, with its files, until `cvd sync` sends it: a folder each in `.cvd/unsent/`."""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cvd.runtime.files import replace_folder
from cvd.runtime.project import state_folder
from cvd.tracking.run_records import Record, arrange_files


@dataclass
class Addition:
    """What a stage after the training has to add to a model's run.

    Attributes:
        variant: the model's.
        model: sha256 of its file.
        experiment: the one that adds.
        start_ms: when, in milliseconds since 1970.
        tags: origin and stage.
        metrics: figures by name, flat.
        folder: of the run's artifacts.
        only_own: nothing is done when the model has no run in this experiment.
        files: what goes into the folder.
    """

    variant: str
    model: str
    experiment: str
    start_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    folder: str = ""
    only_own: bool = False
    files: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """EXPERIMENT/VARIANT."""
        return f"{self.experiment}/{self.variant}"


def keep(item: Record | Addition) -> None:
    """Keeps what could not be sent; where that fails too, as on a full disk, one line says that it is lost."""
    name = f"{item.start_ms}-{item.variant}-{os.getpid()}-{getattr(item, 'folder', 'training') or 'metrics'}"
    try:
        with replace_folder(state_folder() / "unsent" / name) as folder:
            fields = asdict(item)
            fields.pop("files")
            if isinstance(item, Record):
                model = fields.pop("model")
                if model:
                    _link(Path(model), folder / "model" / Path(model).name)
                for place, files in item.files.items():
                    _link_all(files, folder / "files" / place)
            else:
                _link_all(item.files, folder / "files")
            text = json.dumps({type(item).__name__: fields}, indent=1)
            (folder / "fields.json").write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"warning: what MLflow lacks of {item.name} cannot be kept: {error.strerror}", file=sys.stderr)


def _link_all(files: Sequence[Path], folder: Path) -> None:
    for name, path in arrange_files(files).items():
        _link(path, folder / name)


def _link(source: Path, target: Path) -> None:
    """A hard link, which takes no room and outlives an experiment's temporary copy; else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def list_kept() -> list[tuple[Path, Record | Addition]]:
    """What waits to be sent, with its folder, oldest first."""
    found = [(path.parent, _read(path)) for path in (state_folder() / "unsent").glob("[!.]*/fields.json")]
    return sorted(found, key=lambda pair: pair[1].start_ms)


def _read(path: Path) -> Record | Addition:
    ((kind, fields),) = json.loads(path.read_text(encoding="utf-8")).items()
    files = path.parent / "files"
    if kind == Addition.__name__:
        return Addition(**fields, files=_list_files(files))
    fields["epochs"] = [(int(epoch), int(moment), _floats(metrics)) for epoch, moment, metrics in fields["epochs"]]
    record = Record(**fields)
    record.model = next(iter(_list_files(path.parent / "model")), None)
    record.files = {place.name: _list_files(place) for place in sorted(files.glob("*"))}
    return record


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _floats(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def drop(folder: Path) -> None:
    """Forgets what was sent."""
    shutil.rmtree(folder)
