"""`cvd search`: train every combination of some settings, choose by validation, then open the test images once."""

import argparse
import contextlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from cvd.commands.searching.points import Point, list_points, parse_settings
from cvd.evaluation.lesson.search import (
    Trial,
    describe_luck,
    describe_test,
    describe_winner,
    find_winner,
    measure_luck,
    rank_trial,
    render_trials,
    tabulate_trials,
)
from cvd.evaluation.measures import is_right
from cvd.evaluation.tables import write_table
from cvd.evaluation.verdict import format_percent, format_points
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json, replace_file, write_json
from cvd.runtime.locks import try_lock
from cvd.runtime.params.loading import parse_yaml, read_text
from cvd.runtime.project import find_root
from cvd.runtime.revisions.differences import show_value
from cvd.runtime.startup import start_tensorflow

SEARCHES = "searches"  # the folder
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd search`."""
    parser.add_argument("base", nargs="?", metavar="VARIANT", help="a block of params.yaml's `variants`")
    help_text = "values to combine, such as width=8,16,32; also seed, augment.KEY and train.KEY"
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE,VALUE", help=help_text)
    parser.add_argument("--name", help="the search's; alone it goes on with the search of that name")
    parser.add_argument("--n", type=int, metavar="N", help="try N combinations, drawn at random by --draw, not all")
    parser.add_argument("--draw", type=int, default=1, metavar="SEED", help="seed of these draws (default: 1)")


def run_search(args: argparse.Namespace) -> int:
    """Train what is not trained yet, print the table, name the winner by validation, then give its test figure.

    Raises:
        InputError: there is no such search, a setting does not fit, or the data are not there.
    """
    root = find_root()
    spec = _make_spec(args)
    name = _choose_name(args, spec, root)
    folder = root / SEARCHES / name
    spec = read_json(folder / "search.json") if spec is None else spec
    raw = parse_yaml(read_text(root / "params.yaml"))
    points = list_points(raw, spec["base"], spec["settings"], n=spec["n"], seed=spec["draw"])
    with try_lock(root / f".cvd/locks/search-{name}.lock") as is_held:
        if not is_held:
            raise InputError(f"search {name!r} is still running: wait for it, or stop it with Ctrl-C or `kill`")
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "search.json").is_file():
            write_json(spec, folder / "search.json")
        with contextlib.chdir(root):
            _search(points, spec, folder, root, name)
    return 0


def _make_spec(args: argparse.Namespace) -> dict[str, Any] | None:
    """Make what a search is, as it was typed; None where only its name was."""
    if args.n is not None and args.n < 1:
        raise InputError(f"--n is {args.n}: at least 1 combination")
    if args.name is not None and not _NAME.fullmatch(args.name):
        raise InputError(f"--name is {args.name!r}: letters, digits, _ and - only, since a folder is named by it")
    if args.base is None:
        if args.name is None:
            raise InputError(
                "what to search is missing: `cvd search baseline width=8,16,32`, or --name of an earlier one"
            )
        return None
    return {"base": args.base, "settings": parse_settings(args.settings), "n": args.n, "draw": args.draw}


def _choose_name(args: argparse.Namespace, spec: Mapping[str, Any] | None, root: Path) -> str:
    """Choose the search's name: as typed, or that of an earlier one of the same settings, or the first that is free.

    Raises:
        InputError: there is none of that name to go on with, or it is of other settings.
    """

    def read_spec(name: str) -> Any:
        path = root / SEARCHES / name / "search.json"
        return read_json(path) if path.is_file() else None

    if args.name is None:
        names = (f"{args.base}-search{'' if n == 1 else f'-{n}'}" for n in count(1))
        return next(name for name in names if read_spec(name) in (None, spec))
    there = read_spec(args.name)
    if spec is None and there is None:
        known = ", ".join(sorted(path.parent.name for path in root.glob(f"{SEARCHES}/*/search.json"))) or "none yet"
        raise InputError(f"search {args.name!r} is not there: there are {known}")
    if spec is not None and there not in (None, spec):
        raise InputError(f"search {args.name!r} is of other settings: choose another --name, or give --name alone")
    return str(args.name)


def _search(points: Sequence[Point], spec: Mapping[str, Any], folder: Path, root: Path, name: str) -> None:
    from cvd.commands.searching.trials import Place, check_sources

    place = Place(root, folder, name)
    for point in points:
        check_sources(point, spec["base"], place)
    how = f"{len(points)}"
    if spec["n"] is not None:
        total = math.prod(len(values) for values in spec["settings"].values())
        how += f" of {total} combinations, drawn at random by seed {spec['draw']}"
    fixed = "".join(f" {key}={show_value(values[0])}" for key, values in spec["settings"].items() if len(values) == 1)
    print(
        f"search {name}: {how} of {spec['base']}{fixed}; Ctrl-C stops it, `cvd search --name {name}` goes on",
        flush=True,
    )
    start_tensorflow()
    from cvd.machine.threads import set_threads

    set_threads(points[0].params.train.threads)
    trials, best = _run_trials(points, spec["base"], place)
    winner = find_winner(trials)
    parts = [render_trials(tabulate_trials(trials))]
    if winner is not None:
        luck = measure_luck(trials)
        sentences = [describe_winner(winner, spec["base"]), describe_luck(luck)]
        parts.append(" ".join(sentences))
        parts.append(_open_test(best, spec["base"], place, winner))
        parts.append(_say_how_to_keep(spec["base"], winner))
    text = "\n\n".join(parts)
    with replace_file(folder / "search.md") as partial:
        partial.write_text(f"# Search {name}\n\n{text}\n", encoding="utf-8")
    _draw(trials, folder)
    print(f"\n{text}\n\n{folder.relative_to(root)}/search.png shows it; the curves: `make ui EXPERIMENT={name}`")


def _run_trials(points: Sequence[Point], base: str, place: Any) -> tuple[list[Trial], Point]:
    """Run all points in turn; of the networks only the best so far is kept on the disk."""
    from cvd.commands.searching.trials import run_trial

    trials: list[Trial] = []
    best, leader = points[0], None
    begin, n_new = time.monotonic(), 0
    for number, point in enumerate(points, 1):
        start = time.monotonic()
        trial, model = run_trial(point, base, place)
        n_new += time.monotonic() - start > 1  # else it was there
        trials.append(trial)
        if leader is None or rank_trial(trial) < rank_trial(trials[leader[0]]):
            if leader is not None:
                leader[1].unlink(missing_ok=True)
            best, leader = point, (number - 1, model)
        else:
            model.unlink(missing_ok=True)
        write_table(tabulate_trials(trials), place.folder / "search.csv")
        left = (time.monotonic() - begin) / max(1, n_new) * (len(points) - number)
        eta = f"; {left / 60:.0f} min left" if number < len(points) and left > 30 else ""
        print(f"{number:>{len(str(len(points)))}}/{len(points)}  {point.label}: {_tell(trial)}{eta}", flush=True)
    return trials, best


def _tell(trial: Trial) -> str:
    if trial["fault"]:
        return trial["fault"]
    gap = format_points(trial["gap"])
    return f"validation {format_percent(trial['validation'])}, gap {gap}, {trial['state']}, {trial['seconds']:.0f} s"


def _open_test(best: Point, base: str, place: Any, winner: Trial) -> str:
    """Measure the winner on the test images, once: what was measured is kept, and how often that happened."""
    from cvd.commands.searching.trials import OUTPUTS, make_trial_key, predict

    key = make_trial_key(best, base, place)[0][:16]
    path = place.folder / "test.json"
    opened = read_json(path) if path.is_file() else {}
    if key not in opened:
        model = place.folder / "trials" / key / OUTPUTS["model"]
        right = is_right(predict(best, base, place, model, ("test",)))
        figures = {"n_right": int(right.sum()), "n_images": len(right), "label": winner["label"]}
        opened[key] = {**figures, "opened": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(opened, path)
    text = describe_test(opened[key], winner["validation"])
    if len(opened) > 1:
        text += f" This search has opened them for {len(opened)} networks by now: the figure is no longer untouched."
    return text


def _say_how_to_keep(base: str, winner: Trial) -> str:
    """Give the command that puts the winner into the graph; what is not of its block goes with -S."""
    settings = {key: f"{key}={show_value(value)}" for key, value in winner["settings"].items()}
    others = [text for key, text in settings.items() if key == "seed" or "." in key]
    own = [text for text in settings.values() if text not in others]
    train = "dvc exp run " + " ".join(f"-S {text}" for text in others) if others else "dvc repro"
    block = " ".join([f"cvd add best_{base} --like {base}", *own])
    return f"To keep it: `{block} && {train}`."


def _draw(trials: Sequence[Trial], folder: Path) -> None:
    from cvd.vis.charts.searches import draw_search
    from cvd.vis.charts.themes import save_figure

    with replace_file(folder / "search.png") as partial:
        save_figure(draw_search(tabulate_trials(trials)), partial)
