"""A network at chosen epochs: what the file holds, and what it puts back."""

from pathlib import Path

import keras
import numpy as np
import pytest

from cvd.models.networks.mirroring import add_mirror, remove_mirror
from cvd.models.networks.saving import restore_checkpoints, write_checkpoints
from cvd.runtime.errors import InputError


def build() -> keras.Model:
    keras.utils.set_random_seed(1)
    x = pixels = keras.Input((9, 9, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(pixels, keras.layers.Dense(1, name="logit")(x))


def test_only_what_differs_is_kept_and_all_is_put_back(tmp_path: Path) -> None:
    model = build()
    final = model.get_weights()
    early = [np.array(weights) for weights in final]
    early[0] += 1
    for name in "ab":
        write_checkpoints(tmp_path / f"{name}.checkpoints.npz", [5, 10], [early, final], final=final)
    assert (tmp_path / "a.checkpoints.npz").read_bytes() == (tmp_path / "b.checkpoints.npz").read_bytes()
    with np.load(tmp_path / "a.checkpoints.npz") as file:
        assert file.files == ["epochs", "5/0"]
    for epoch in restore_checkpoints(tmp_path / "a.checkpoints.npz", model):
        for weights, expected in zip(model.get_weights(), early if epoch == 5 else final, strict=True):
            np.testing.assert_array_equal(weights, expected)


def test_a_network_that_looks_twice_is_put_back_without_its_mirror(tmp_path: Path) -> None:
    model = add_mirror(build())
    final, images = model.get_weights(), np.random.default_rng(1).uniform(0, 255, (2, 9, 9, 3)).astype(np.float32)
    early = [weights * 2 + 1 for weights in final]
    write_checkpoints(tmp_path / "best.checkpoints.npz", [1], [early], final=final)
    plain, alone = build(), remove_mirror(model)
    plain.set_weights(early)
    for _ in restore_checkpoints(tmp_path / "best.checkpoints.npz", alone):
        np.testing.assert_allclose(alone(images), plain(images), rtol=1e-6)


@pytest.mark.parametrize("fault", ["missing", "cut", "other"])
def test_faults_are_one_line(tmp_path: Path, fault: str) -> None:
    path, model = tmp_path / "small.checkpoints.npz", build()
    final = model.get_weights()
    other = [weights[..., :1] for weights in final]
    write_checkpoints(path, [1], [other], final=[np.zeros(1)] * len(other))
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    if fault == "missing":
        path.unlink()
    with pytest.raises(InputError, match=r"small\.checkpoints\.npz cannot be read \(.*\): make .*train@small"):
        list(restore_checkpoints(path, model))
