"""A `dvc repro` with nothing to do, of this project against a chain of as many stages that only echo.

Each of these tracks a section of params.yaml: what DVC takes for a pipeline of this length, before any code, image or
result is tracked. A chain of two stages stands beside them: DVC's own floor.

The project is a copy whose outputs are stand-ins, as many files as the default run has, declared done by `dvc commit`:
no stage runs. A second copy has as many files in data/images as a run on photos.
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

import yaml

from benchmarks.contest import Goal, Series, divide, format_median, print_conditions, print_goals, print_table
from benchmarks.workload import ROOT, load_project

OURS, PHOTOS, FLOOR, LONG = "this project", "on photos", "two stages", "as many echoes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=20_000, help="stand-ins in data/images of the second copy")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    n_images = 2 * load_project().data.drawn.n_per_class
    seconds: Series = {FLOOR: [], LONG: [], OURS: [], PHOTOS: []}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary, name.replace(" ", "-")) for name in seconds}
        n_stages = copy_project(folders[OURS], n_images)
        copy_project(folders[PHOTOS], args.photos)
        make_echoes(folders[FLOOR], chain_echoes(2))
        make_echoes(folders[LONG], chain_echoes(n_stages, params=["image"]))
        for is_measured in [False] + [True] * args.repeats:
            for name, folder in folders.items():
                start = time.perf_counter()
                said = run("dvc", "repro", folder=folder)
                if is_measured:
                    seconds[name].append(time.perf_counter() - start)
                if "Running stage" in said:
                    raise RuntimeError(f"{name} had something to do:\n{said}")
    data = f"{n_stages} stages, {n_images:,} and {args.photos:,} files in data/images"
    print_conditions("`dvc repro` with nothing to do", data=data, precision="none")
    peers = [FLOOR, LONG, OURS]
    rows = [
        [name, format_median(each, 2), *(f"{divide(each, seconds[peer]):.2f}x" for peer in peers)]
        for name, each in seconds.items()
    ]
    print_table(["", "seconds", *(f"vs {peer}" for peer in peers)], rows)
    goals = [
        Goal("no-op `dvc repro` vs as many echoes", 1.6, divide(seconds[OURS], seconds[LONG]), is_most=True),
        Goal(f"the same with {args.photos:,} photos", 1.5, divide(seconds[PHOTOS], seconds[OURS]), is_most=True),
    ]
    print_goals(goals)


def run(*command: str, folder: Path) -> str:
    """Runs a command of this environment; what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = kept | {"PATH": path, "DVC_NO_ANALYTICS": "true"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")
    return done.stdout


def chain_echoes(n_stages: int, *, params: Sequence[str] = ()) -> str:
    """The dvc.yaml of a chain, each stage of which depends on the one before and on these sections of params.yaml."""
    stages = {
        f"stage{k}": {
            "cmd": f"echo {k} > {k}.txt",
            "deps": [f"{k - 1}.txt"] if k else [],
            "params": list(params),
            "outs": [f"{k}.txt"],
        }
        for k in range(n_stages)
    }
    return yaml.safe_dump({"stages": stages})


def make_echoes(folder: Path, pipeline: str) -> None:
    """A DVC project of stages that have run, with this project's params.yaml."""
    folder.mkdir()
    run("git", "init", "-q", folder=folder)
    run("dvc", "init", "-q", folder=folder)
    shutil.copy2(ROOT / ".dvc/config", folder / ".dvc/config")
    shutil.copy2(ROOT / "params.yaml", folder)
    (folder / "dvc.yaml").write_text(pipeline)
    run("dvc", "repro", folder=folder)


def copy_project(folder: Path, n_images: int) -> int:
    """The working copy's own files with stand-ins for all outputs, declared done; how many stages it has."""
    from dvc.repo import Repo  # type: ignore[import-untyped]

    listed = run("git", "ls-files", "-co", "--exclude-standard", folder=ROOT).splitlines()
    for name in listed:
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    run("git", "init", "-q", folder=folder)
    with Repo(str(folder)) as repo:
        stages = [stage for stage in repo.index.stages if stage.cmd]
        for stage in stages:
            write_stand_ins([Path(out.fs_path) for out in stage.outs], n_images)
    run("dvc", "commit", "--quiet", "--force", folder=folder)
    return len(stages)


def write_stand_ins(outs: Sequence[Path], n_images: int) -> None:
    """A file for each output with a suffix, else a folder: of the images, or of a dozen files."""
    for out in outs:
        if out.suffix:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(out.name)
            continue
        splits = ("train", "validation", "test") if out.name == "images" else ("test",)
        for number in range(n_images if out.name == "images" else 12):
            file = out / splits[number % len(splits)] / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{out.name} {number}")


if __name__ == "__main__":
    main()
