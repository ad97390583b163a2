"""`cvd add` and `cvd remove`: variants put into the graph, and taken out."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from cvd.runtime.errors import InputError
from cvd.runtime.experiments import LOCK, list_digests, parse_lock
from cvd.runtime.files import remove_path, replace_file
from cvd.runtime.params.editing import insert_entry, list_entries, remove_entries
from cvd.runtime.params.graph import place_variant
from cvd.runtime.params.loading import Params, parse_params, parse_yaml, read_text
from cvd.runtime.params.references import read_lines
from cvd.runtime.project import find_root

GRAPH, NETWORKS = ("vars", 0, "graph"), ("vars", 0, "networks")  # in dvc.yaml
PARAMS, PIPELINE = "params.yaml", "dvc.yaml"


def add_options_of_add(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd add`."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="a block of params.yaml's `variants`, or a new name")
    like = "make a new block: like another, but for these keys"
    parser.add_argument("--like", nargs="+", metavar=("OTHER", "KEY=VALUE"), help=like)
    bare = "train and compare only; so it is for a `share` of the images, and for networks without convolutions"
    parser.add_argument("--no-pictures", action="store_true", help=bare)


def add_variants(args: argparse.Namespace) -> int:
    """Put variants into dvc.yaml's graph; a new one gets a block in params.yaml first. A wrong line is replaced.

    Raises:
        InputError: there is no such block, a new one is not valid, or what it starts from is not in the graph.
    """
    root = find_root()
    params_text, graph_text = (read_text(root / name) for name in (PARAMS, PIPELINE))
    if args.like:
        params_text = _insert_block(params_text, args.names, *args.like)
    params = parse_params(parse_yaml(params_text))
    lines = []
    for name in args.names:
        entry, (graph, _) = asdict(place_variant(params, name)), read_lines(graph_text, PIPELINE)
        if graph.get(name) == entry:
            lines.append(f"{name} is in the graph already")
            continue
        if (start := _find_start(params, name)) and start not in graph:
            fault = f"starts from {start!r}, which is not in the graph"
            raise InputError(f"variant {name!r} {fault}: run `cvd add {start}`")
        has_pictures = _has_maps(params, name) and params.variants[name].share == 1 and not args.no_pictures
        wrong = [place for place in (NETWORKS, GRAPH) if name in list_entries(graph_text, place)]
        said = ", ".join(f"{key}: {value}" for key, value in entry.items())
        graph_text = insert_entry(graph_text, NETWORKS if has_pictures else GRAPH, f"{name}: {{{said}}}")
        for place in wrong:  # its line comes before the new one
            graph_text = remove_entries(graph_text, place, [name])
        follows = "trains, compares and draws it" if has_pictures else "trains and compares it"
        lines.append(f"{name} is in the graph: `dvc repro` {follows}")
    _write_texts({root / PARAMS: params_text, root / PIPELINE: graph_text})
    print("\n".join(lines))
    return 0


def add_options_of_remove(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd remove`."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="a variant of dvc.yaml's graph")
    parser.add_argument("--block", action="store_true", help="remove its block in params.yaml too")


def remove_variants(args: argparse.Namespace) -> int:
    """Take variants out of dvc.yaml's graph, with their results in the workspace; DVC's cache and MLflow keep them.

    Raises:
        InputError: a variant is not in the graph, or another one starts from it.
    """
    root = find_root()
    texts = {root / name: read_text(root / name) for name in (PARAMS, PIPELINE)}
    _check_removal(args, parse_params(parse_yaml(texts[root / PARAMS])), texts[root / PIPELINE])
    for place in (NETWORKS, GRAPH):
        texts[root / PIPELINE] = remove_entries(texts[root / PIPELINE], place, args.names)
    if args.block:
        texts[root / PARAMS] = remove_entries(texts[root / PARAMS], ["variants"], args.names)
        parse_params(parse_yaml(texts[root / PARAMS]))  # another block may be like a removed one
    lock = read_text(root / LOCK) if (root / LOCK).is_file() else ""
    stages = {name: stage for name, stage in parse_lock(lock).items() if name.partition("@")[2] in args.names}
    if stages:
        texts[root / LOCK] = remove_entries(lock, ["stages"], stages)
    _write_texts(texts)
    outs = {root / path for stage in stages.values() for path in list_digests(stage, "outs")}
    # A stage that was killed before DVC noted it down has left its figures too.
    for path in sorted(outs | {path for name in args.names for path in root.glob(f"metrics/**/{name}.json")}):
        _delete_result(path)
    print(f"{', '.join(args.names)}: out of the graph; `dvc repro` brings the comparison and the report up to date")
    return 0


def _check_removal(args: argparse.Namespace, params: Params, graph_text: str) -> None:
    trained = list(read_lines(graph_text, PIPELINE)[0])
    for name in args.names:
        if name not in trained and not (args.block and name in params.variants):
            raise InputError(f"variant {name!r} is not in dvc.yaml's graph, which has {', '.join(trained)}")
    for name in trained:
        start = _find_start(params, name)
        if name not in args.names and start in args.names:
            raise InputError(f"variant {name!r} starts from {start!r}: take {name} out as well")
    if not set(list_entries(graph_text, NETWORKS)) - set(args.names):
        raise InputError(f"{' '.join(args.names)!r} would leave no network to draw: one at least has to stay")


def _has_maps(params: Params, name: str) -> bool:
    """True where the network has convolutions: pictures are of what they see."""
    return params.variants[name].network != "dense"


def _find_start(params: Params, name: str) -> str | None:
    """Find the variant whose network a variant trains further; None for most, and for a line without a block."""
    return getattr(params.variants.get(name), "starts_from", None)


def _insert_block(text: str, names: Sequence[str], like: str, *settings: str) -> str:
    """Insert a block for a new variant into the text of params.yaml."""
    if len(names) > 1 or names[0] in list_entries(text, ["variants"]):
        fault = f"{' '.join(names)!r} is several names, or has a block already"
        raise InputError(f"--like makes one new block, but {fault}")
    block: dict[str, Any] = {"like": like}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InputError(f"--like got {setting!r}: write KEY=VALUE, such as dropout=0.2")
        block[key] = parse_yaml(value)
    line = yaml.safe_dump({names[0]: block}, default_flow_style=None, sort_keys=False, width=10_000).strip()
    return insert_entry(text, ["variants"], line)


def _delete_result(path: Path) -> None:
    """Delete an output and the line by which DVC has git ignore it."""
    remove_path(path)
    ignored = path.with_name(".gitignore")
    if ignored.is_file():
        lines = [line for line in ignored.read_text(encoding="utf-8").splitlines() if line != f"/{path.name}"]
        ignored.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_texts(texts: dict[Path, str]) -> None:
    for path, text in texts.items():
        if path.read_text(encoding="utf-8") != text:
            with replace_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
