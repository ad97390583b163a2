"""TensorFlow's start: quick, quiet, and without side effects on what comes after."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvd.runtime.startup import pause_garbage_collection

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("is_enabled", [True, False])
def test_an_import_that_fails_leaves_garbage_collection_as_it_was(is_enabled: bool) -> None:
    before = gc.isenabled(), gc.get_freeze_count()
    (gc.enable if is_enabled else gc.disable)()
    try:
        with pytest.raises(ImportError), pause_garbage_collection():
            assert not gc.isenabled()
            raise ImportError
        assert (gc.isenabled(), gc.get_freeze_count()) == (is_enabled, before[1])
    finally:
        (gc.enable if before[0] else gc.disable)()


def test_tensorflow_starts_in_silence_without_what_nothing_uses() -> None:
    script = (
        "import gc, sys; from cvd.runtime.startup import start_tensorflow; start_tensorflow(); start_tensorflow();"
        "assert gc.isenabled() and gc.get_freeze_count() > 100_000 > len(gc.get_objects());"
        "assert {'keras', 'tensorflow'} < set(sys.modules);"
        "assert not {'sklearn', 'matplotlib'} & set(sys.modules);"
        "import matplotlib, sklearn, tensorflow as tf;"  # are there for whoever asks afterwards
        "[tf.function(lambda x: x + 1)(tf.constant(1.0)) for _ in range(9)];"  # as many graphs, one for each network
        "print('said', file=sys.stderr)"
    )
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env | {"PYTHONPATH": str(ROOT)}
    )
    assert done.stderr == "said\n"
