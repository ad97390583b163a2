"""What a person waits for after a change of one number, but for the training: every stage that it runs again, timed.

The stages of `dvc exp run -S augment.rotation_degrees=15` run one by one, each as a process of its own, in a copy of
this project with its results. DVC's bookkeeping, about a third of a second for a stage, comes on top.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contest import Goal, Series, format_median, print_conditions, print_goals, print_table
from benchmarks.workload import ROOT

CHANGED = ("train@augmented", "augmentations")  # what reads the section `augment`
CHECK = "check"  # runs whenever a parameter has changed
EVALUATION, EXPLANATIONS = "evaluate@augmented", "explanations@augmented"
LEFT_OUT = ("train@", "download", "backbone")
REPORT = ROOT / "plots/report.html"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--all", action="store_true", help="time every stage of the pipeline that fetches and trains nothing"
    )
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    if not REPORT.is_file():
        print("\nloop: not measured, since this project has no results: run `make repro` first")
        return
    stages = dict(list_commands(is_whole=args.all))
    seconds: Series = {name: [] for name in stages}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "project")
        copy_results(folder)
        for is_measured in [False] + [True] * args.repeats:
            for name, command in stages.items():
                start = time.perf_counter()
                run_stage(command, folder)
                if is_measured:
                    seconds[name].append(time.perf_counter() - start)
    print_conditions("The stages that a changed augmentation runs again", data="this project's", precision="as trained")
    print_table(["stage", "seconds"], [[name, format_median(series, 1)] for name, series in seconds.items()])
    total = sum(min(seconds[name]) for name, _ in list_commands(is_whole=False))
    short = min(seconds[CHECK]) + min(seconds[EVALUATION])
    goals = [
        Goal("an experiment on `augment`, but the training", 40, total, " s", is_most=True),
        Goal(f"the same with `{EVALUATION}` as the target", 8, short, " s", is_most=True),
        Goal("explanations of one variant", 5, min(seconds[EXPLANATIONS]), " s", is_most=True),
        Goal("the report", 6, min(seconds["report"]), " s", is_most=True),
    ]
    print_goals(goals)


def list_commands(*, is_whole: bool) -> Iterator[tuple[str, str]]:
    """List (name, command) of stages in the order in which DVC runs them, without those that fetch or train."""
    import networkx  # type: ignore[import-untyped]
    from dvc.repo import Repo  # type: ignore[import-untyped]

    with Repo(str(ROOT)) as repo:
        graph: Any = repo.index.graph.reverse()  # from each stage to those that depend on it
        names = {stage: stage.addressing for stage in graph.nodes}
        changed = {stage for stage in graph.nodes if is_whole or names[stage] in CHANGED}
        followers = {follower for stage in changed for follower in networkx.descendants(graph, stage)}
        for stage in networkx.lexicographical_topological_sort(graph, key=names.get):
            is_run = stage in changed | followers or names[stage] == CHECK
            if is_run and not names[stage].startswith(LEFT_OUT):
                yield names[stage], stage.cmd


def copy_results(folder: Path) -> None:
    """Copy the project with its results, as links: stages replace their outputs, and never write into them."""
    ignored = shutil.ignore_patterns(".venv", "cache", "tmp", ".cvd", "mlartifacts", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=ignored, copy_function=_link)


def _link(source: str, target: str) -> None:
    is_written_in_place = Path(source).name == "mlflow.db"
    try:
        (shutil.copy2 if is_written_in_place else os.link)(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def run_stage(command: str, folder: Path) -> None:
    """Run a stage's command as DVC would, silently."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    done = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {command}\n{done.stderr}")


if __name__ == "__main__":
    main()
