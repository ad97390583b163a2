"""A network that cannot fit into memory is refused in a line, before any of it takes memory."""

from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import pytest

from cvd.machine import hardware
from cvd.models.scratch.plain import build_plain
from cvd.models.scratch.residual import build_residual
from cvd.training.devices import MemoryShortError, estimate_bytes, require_memory

build = partial(build_plain, size_px=64, dropout=0.0, width=32, depth=4)


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "list_gpus", lambda: [])


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("mixed_bfloat16", 2)])
def test_bytes_by_hand(dtype: str, size: int) -> None:
    model = build(width=2, depth=2, dtype=dtype)  # 64 -> 62 -> 31 -> 29 -> 14, of 2 and 4 filters, then 32 units
    n = (3 * 9 * 2 + 2) + (2 * 9 * 4 + 4) + (14 * 14 * 4 * 32 + 32) + (32 + 1)
    step = size * (62 * 62 * 2 + 29 * 29 * 4)  # of an image
    assert estimate_bytes(model, batch_size=1, optimizer="sgd") == 4 * 2 * n + 4 * 2 * n
    assert estimate_bytes(model, batch_size=100, optimizer="adam") == 4 * 3 * n + 100 * step
    model.trainable = False
    assert estimate_bytes(model, batch_size=100, optimizer="adam") == 4 * n + 4 * n


def test_what_cannot_fit_is_refused_and_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "read_memory_bytes", lambda: 24 * 10**9)
    with pytest.raises(MemoryShortError) as caught:  # 368 GB of weights
        require_memory(partial(build, size_px=150, width=1024, depth=1), 20, "rmsprop")
    assert str(caught.value) == (
        "not enough memory: a network of 91,872,096,257 parameters with 20 images at a time needs at least 1,837.4 GB, "
        "and 24.0 GB are free: lower train.batch_size, the network's width, image.size_px or train.memory_share"
    )


def test_what_fits_passes_and_what_does_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spare = estimate_bytes(build(), batch_size=20, optimizer="rmsprop")
    monkeypatch.setattr(hardware, "read_memory_bytes", lambda: spare)
    require_memory(build, 20, "rmsprop")
    with pytest.raises(MemoryShortError):
        require_memory(build, 40, "rmsprop")


@pytest.mark.parametrize(
    "make",
    [partial(build, dropout=0.5), partial(build_residual, size_px=64, width=2, depth=1, dropout=0.5)],
    ids=["plain", "residual"],
)
def test_the_check_leaves_the_next_network_as_it_was(
    make: Callable[[], keras.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "read_memory_bytes", lambda: 10**9)
    made = []
    for is_checked in (False, True):
        if is_checked:
            require_memory(make, 20, "rmsprop")
        keras.utils.set_random_seed(3)  # as train_model does, after the check
        made.append(make())
    one, other = made
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]
    images = np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(one(images, training=True), other(images, training=True))


def test_gpus_have_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "list_gpus", lambda: [("GPU", (8, 0))])
    monkeypatch.setattr(hardware, "read_memory_bytes", lambda: 0)
    require_memory(build, 20, "rmsprop")
