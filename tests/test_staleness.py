"""What a change of code makes stale, as `dvc status` says it: the stages of its folder, and none for the frame."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_project import run

pytestmark = pytest.mark.pipeline

LOOKING = {"activations@baseline", "activations@augmented", "activations@transfer"}
CLIMBING = {"filters@baseline", "filters@augmented", "filters@transfer"}
EXPLAINED = {name.replace("activations", "explanations") for name in LOOKING}
HEATED = {name.replace("activations", stage) for name in LOOKING for stage in ("gradcam", "mistakes")} | {
    "side_by_side"
}
MISTAKEN = {name for name in HEATED if name.startswith("mistakes")} | {"side_by_side"}
DRAWN = {"photos", *HEATED, *LOOKING, *CLIMBING}
TRAININGS = {f"train@{name}" for name in ("baseline", "augmented", "tfrecord", "transfer")}
SCRATCH = TRAININGS - {"train@transfer"}
EVALUATIONS = {name.replace("train", "evaluate") for name in TRAININGS}
EXAMPLES = {"shard", "features", "labels", "map", "augmentations", *TRAININGS, *EVALUATIONS}


@pytest.fixture(scope="module")
def project(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("stale") / "project"
    shutil.copytree(prepared, target, symlinks=True)
    yield target
    shutil.rmtree(target)


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("cvd/runtime/errors.py", set()),
        ("cvd/runtime/stage.py", set()),
        ("cvd/tracking/store.py", set()),
        ("cvd/web/app.py", set()),
        ("cvd/commands/predict.py", set()),
        ("cvd/cli.py", set()),
        ("stages/side_by_side.py", {"side_by_side"}),
        ("cvd/data/sources/fetch.py", {"download"}),
        ("cvd/data/drawn/coat.py", {"download"}),
        ("cvd/data/intake/jpeg.py", {"split", "photos"}),
        ("cvd/data/archives/formats.py", {"download", "split", "photos"}),
        (
            "cvd/data/images/pixels.py",
            {"split", "report", "photos", *EXPLAINED, *CLIMBING, *HEATED, *LOOKING, *EXAMPLES},
        ),
        ("cvd/data/examples/pipeline.py", EXAMPLES),
        ("cvd/data/augmentation/colours.py", {"augmentations", *TRAININGS}),
        ("cvd/machine/hardware.py", {"features", "labels", "report", *EXPLAINED, *CLIMBING, *TRAININGS, *EVALUATIONS}),
        (
            "cvd/models/networks/head.py",
            {
                *("check", "backbone", "features", "labels", "photos"),
                *(*EXPLAINED, *LOOKING, *CLIMBING, *TRAININGS, *EVALUATIONS),
            },
        ),
        ("cvd/models/scratch/plain.py", {"check", *SCRATCH}),
        ("cvd/models/pretrained/lite.py", {"check", "backbone"}),
        ("cvd/training/distributed/loop.py", TRAININGS),
        ("cvd/evaluation/verdict.py", {"compare", "report", *EXPLAINED, *MISTAKEN, *EVALUATIONS}),
        ("cvd/vis/charts/themes.py", {"augmentations", "compare", "report", *EVALUATIONS}),
        ("cvd/vis/explaining/geometry.py", {"check", "labels", "report", *DRAWN, *EXPLAINED}),
        ("cvd/vis/examining/checks.py", EXPLAINED),
        ("cvd/vis/sheets/grids.py", {"labels", "report", *DRAWN}),
        ("cvd/vis/filters/pixels.py", CLIMBING),
        ("cvd/vis/mapping/embedding.py", {"map"}),
        ("cvd/report/report.html.j2", {"report"}),
        ("cvd/report/instrument/wall.py", {"report"}),
    ],
)
def test_change_makes_its_folders_stages_stale(project: Path, file: str, stale: set[str]) -> None:
    path = project / file
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    try:
        status = json.loads(run("dvc", "status", "--json", cwd=project).stdout)
    finally:
        path.write_bytes(before)
    assert set(status) == stale
