"""The pipeline is run once; what needs its results copies them."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_project

# A shell has what it runs in the background ignore Ctrl-C, and all that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository after `dvc repro`, its results not committed. To be copied, not to be changed."""
    target = tmp_path_factory.mktemp("prepared")
    tiny_project.clone(target)
    done = tiny_project.run("dvc", "repro", cwd=target)
    trainings = {f"train@{each}" for each in tiny_project.VARIANTS}
    assert tiny_project.ran_stages(done) >= {"download", "split", "shard", "report", *trainings}
    yield target
    shutil.rmtree(target)
