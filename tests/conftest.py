"""The pipeline is run twice, once by each of two workers; what needs its results copies them."""

import signal
from pathlib import Path

import pytest
import tiny_project
from filelock import FileLock

# A shell has what it runs in the background ignore Ctrl-C, and all that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take a minute or more come first, so that no worker is left with one at the end. The first two each run the
# pipeline, side by side.
LONG = ("test_reproducibility", "test_whole_pipeline", "test_benchmarks", "test_journeys", "test_optional_variants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository after `dvc repro`, its results not committed. To be copied, not to be changed."""
    return run_pipeline("prepared", tmp_path_factory)


@pytest.fixture(scope="session")
def second_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, made on its own, and each process started as users start it."""
    return run_pipeline("second", tmp_path_factory, forks=False)


def run_pipeline(name: str, tmp_path_factory: pytest.TempPathFactory, *, forks: bool = True) -> Path:
    """Run the pipeline in a folder that all workers of pytest share; the others wait for the first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-gw") else base
    target, partial = shared / name, shared / f"{name}.partial"
    with FileLock(shared / f"{name}.lock"):
        if not target.exists():
            tiny_project.clone(partial)
            done = tiny_project.run("dvc", "repro", cwd=partial, forks=forks)
            trainings = {f"train@{each}" for each in tiny_project.VARIANTS}
            assert tiny_project.ran_stages(done) >= {"download", "split", "shard", "report", *trainings}
            partial.rename(target)
    return target
