"""What a person waits for: every stage of the pipeline, and those that a change of one number runs again.

The stages run one by one, each as a process of its own, in a copy of this project with its results; those of
`dvc exp run -S augment.rotation_degrees=15` run twice, and the faster time counts. Trainings are cut to three epochs:
the others take as long as the last two. The backbone is not fetched again. DVC's bookkeeping, about a third of a second
for a stage, comes on top.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.contest import Goal, Series, format_median, print_conditions, print_goals, print_table
from benchmarks.workload import ROOT
from cvd.runtime.files import read_json

CHANGED = ("train@augmented", "augmentations")  # what reads the section `augment`
CHECK = "check"  # runs whenever a parameter has changed
EVALUATION, EXPLANATIONS = "evaluate@augmented", "explanations@augmented"
TRAIN, FETCHING = "train@", "backbone"
REPORT = ROOT / "plots/report.html"
N_EPOCHS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1, help="of the stages that a changed augmentation runs again")
    args = parser.parse_args()
    if not REPORT.is_file():
        print("\nloop: not measured, since this project has no results: run `make repro` first")
        return
    stages, again = list_commands()
    seconds: Series = {name: [] for name in stages}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "project")
        copy_results(folder)
        others = [name for name in stages if not name.startswith(TRAIN)]
        for names in [others] + [again] * args.repeats:
            for name in names:
                seconds[name].append(time_stage(stages[name], folder))
        for name in stages.keys() - others:
            seconds[name].append(time_training(name.removeprefix(TRAIN), stages[name], folder))
    print_conditions("The stages of the pipeline", data="this project's", precision="as trained")
    rows = [[name, format_median(times, 1), "yes" if name in again else ""] for name, times in seconds.items()]
    print_table(["stage", "seconds", "after a changed augmentation"], rows)
    print_goals(judge({name: min(times) for name, times in seconds.items()}, again))


def judge(seconds: dict[str, float], again: Sequence[str]) -> list[Goal]:
    """Hold the seconds of stages against what was asked, on an Intel Xeon with AMX."""
    asked: list[tuple[str, float, Sequence[str]]] = [
        ("the pipeline", 300, list(seconds)),
        ("an experiment on `augment`, but the training", 40, again),
        (f"the same with `{EVALUATION}` as the target", 8, [CHECK, EVALUATION]),
        ("explanations of one variant", 5, [EXPLANATIONS]),
        ("the report", 6, ["report"]),
    ]
    if "download" in seconds:
        asked.append((f"drawing {2 * read_params()['data']['drawn']['n_per_class']:,} pictures", 12, ["download"]))
    return [Goal(work, most, sum(seconds[name] for name in names), " s", True) for work, most, names in asked]


def list_commands() -> tuple[dict[str, str], list[str]]:
    """List stages that fetch nothing with their commands, in DVC's order, and those that a changed augmentation runs.

    Of the latter, the training is left out.
    """
    import networkx  # type: ignore[import-untyped]
    from dvc.repo import Repo  # type: ignore[import-untyped]

    with Repo(str(ROOT)) as repo:
        graph: Any = repo.index.graph.reverse()  # from each stage to those that depend on it
        names = {stage: stage.addressing for stage in graph.nodes}
        order = networkx.lexicographical_topological_sort(graph, key=names.get)
        fetching = {FETCHING} if read_params()["data"]["source"] == "drawn" else {FETCHING, "download"}
        commands = {names[stage]: stage.cmd for stage in order if names[stage] not in fetching}
        changed = [stage for stage in graph.nodes if names[stage] in CHANGED]
        again = {names[follower] for stage in changed for follower in networkx.descendants(graph, stage)}
    again |= {CHECK, *CHANGED}
    return commands, [name for name in commands if name in again and not name.startswith(TRAIN)]


def read_params() -> dict[str, Any]:
    """Read the project's parameters as they are written."""
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return params


def copy_results(folder: Path) -> None:
    """Copy the project with its results, as links: stages replace their outputs, and never write into them."""
    ignored = shutil.ignore_patterns(".venv", "cache", "tmp", ".cvd", "mlartifacts", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=ignored, copy_function=_link)


def _link(source: str, target: str) -> None:
    is_written_in_place = Path(source).name in ("mlflow.db", "params.yaml")
    try:
        (shutil.copy2 if is_written_in_place else os.link)(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def time_stage(command: str, folder: Path) -> float:
    """Measure the seconds of a stage's command, run silently as DVC would."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    start = time.perf_counter()
    done = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {command}\n{done.stderr}")
    return time.perf_counter() - start


def time_training(variant: str, command: str, folder: Path) -> float:
    """Measure a short training's seconds; add as many of its later epochs as the recorded training has more."""
    n_epochs = read_json(ROOT / f"models/{variant}.training.json")["epochs"]
    params = read_params()
    params["variants"][variant]["epochs"] = N_EPOCHS
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    whole = time_stage(command, folder)
    _, *warm = read_json(folder / f"models/{variant}.timing.json")["seconds_per_epoch"]
    return whole + (n_epochs - N_EPOCHS) * sum(warm) / len(warm)


if __name__ == "__main__":
    main()
