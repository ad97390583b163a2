"""What params.yaml names outside of itself: files, folders, and the variants' lines in dvc.yaml's graph."""

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from cvd.runtime.errors import InputError
from cvd.runtime.params.graph import Entry, check_entry
from cvd.runtime.params.loading import Params, parse_yaml, read_text


class NamedLayers(NamedTuple):
    """Layers that a parameter names, and the methods that explain by them."""

    parameter: str
    layers: list[str]
    methods: list[str]


def check_paths(params: Params, root: Path) -> None:
    """Check that the files and folders that params.yaml names are there.

    `root` is the project's folder. A queued or `--temp` experiment runs in a copy of it. This copy, then the working
    folder, lacks what git and DVC do not track.

    Raises:
        InputError: one is not there, or is no folder or no file as `data.source` asks.
    """
    paths = {"data.path": params.data.path, "gradcam.photos": params.gradcam.photos}
    if params.backbone.weights.endswith((".h5", ".pth")):
        paths["backbone.weights"] = params.backbone.weights
    for name, given in paths.items():
        if not Path(given).expanduser().exists():
            raise InputError(f"{name} is {given!r}: {_explain_absence(Path(given), root)}")
    is_folder = Path(params.data.path).expanduser().is_dir()
    if params.data.source == "directory" and not is_folder:
        raise InputError(
            f"data.path is {params.data.path!r}, a file, not a folder: use data.source=archive for a zip or tar"
        )
    if params.data.source == "archive" and is_folder:
        raise InputError(f"data.path is {params.data.path!r}, a folder, not a zip or tar: use data.source=directory")


def _explain_absence(path: Path, root: Path) -> str:
    if path.is_absolute() or Path.cwd().samefile(root):
        return "there is no such file or folder"
    copy = "the copy of the project in which queued and --temp experiments run does not have it"
    return f"{copy}: give an absolute path, such as {root / path}"


def check_counts(params: Params) -> None:
    """Check that enough images are drawn for all splits; other sources say what they hold when they are read.

    Raises:
        InputError: they are too few.
    """
    n_drawn = params.data.drawn.n_per_class
    sizes = [params.split.train or 1, params.split.validation, params.split.test]  # null: what is left, at least one
    n_asked = sum(size if isinstance(size, int) else max(1, int(Fraction(str(size)) * n_drawn)) for size in sizes)
    if params.data.source == "drawn" and n_asked > n_drawn:
        asked = f"split asks for {n_asked} images of each class, but data.drawn.n_per_class is {n_drawn}"
        raise InputError(f"{asked}: raise the one, or lower split.train, split.validation or split.test")


def check_cluster(params: Params, environment: Mapping[str, str]) -> None:
    """Check that a training on several machines is told which they are.

    Raises:
        InputError: it is not.
    """
    if params.train.strategy == "multi_worker" and not environment.get("TF_CONFIG"):
        advice = "set it as README.md says, or train.strategy to one or mirrored"
        raise InputError(f"train.strategy is multi_worker, but TF_CONFIG is not set: {advice}")


def read_lines(text: str, path: str | Path) -> tuple[dict[str, Any], list[str]]:
    """Read the lines of a dvc.yaml's graph as they are written, and the names of those whose networks are drawn.

    Raises:
        InputError: there is no graph; the message names `path`.
    """
    pipeline = parse_yaml(text, path)
    try:
        lines, networks = (dict(pipeline["vars"][0][name]) for name in ("graph", "networks"))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{path} has no `vars` with `graph` and `networks`: `git checkout {path}`") from error
    return lines, list(networks)


def read_graph(path: Path) -> tuple[dict[str, Entry], list[str]]:
    """Read the variants' lines in a dvc.yaml, and the names of those whose networks are drawn.

    Raises:
        InputError: there is no graph, or a line lacks a key or has another one.
    """
    lines, networks = read_lines(read_text(path), path)
    keys = [field.name for field in fields(Entry)]
    for name, line in lines.items():
        if set(line or ()) != set(keys):
            raise InputError(
                f"{path}'s graph gives {name} {line}: it needs {', '.join(keys)}; `cvd add {name}` mends it"
            )
    return {name: Entry(**line) for name, line in lines.items()}, networks


def check_graph(params: Params, entries: Mapping[str, Entry]) -> None:
    """Check that each line of the graph fits the variant's block, and that what it starts from is trained.

    Raises:
        InputError: one does not.
    """
    for name, entry in entries.items():
        check_entry(params, name, entry)
        start = Path(entry.network)
        if start.suffix == ".keras" and start.stem not in entries:
            fault = f"variant {name!r} starts from {start.stem!r}, which is not in dvc.yaml's graph"
            raise InputError(f"{fault}: run `cvd add {start.stem}`")
        if getattr(params.variants[name], "head", "") == "imagenet" and params.backbone.weights == "random":
            raise InputError(f"variant {name!r} asks ImageNet's classes, which backbone.weights 'random' does not know")


def name_layers(params: Params) -> list[NamedLayers]:
    """List the layers that params.yaml names."""
    named = []
    for section in ("activations", "filters", "gradcam", "explanations"):
        settings = getattr(params, section)
        if settings.layers:
            methods = getattr(settings, "methods", None) or [getattr(settings, "method", "gradcam")]
            named.append(NamedLayers(f"{section}.layers", settings.layers, methods))
    return named
