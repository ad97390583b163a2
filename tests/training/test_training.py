"""Training: the same bits for the same seed, whatever interrupts it, and errors that people can read."""

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from cvd.data.examples.batches import Augment
from cvd.data.examples.reading import Examples, read_files, read_shards
from cvd.data.examples.shard_writer import write_shards
from cvd.data.examples.shares import hold_part
from cvd.models.networks.saving import save_model
from cvd.models.scratch.plain import build_plain
from cvd.runtime.errors import InputError
from cvd.training.course import (
    COLUMNS,
    Training,
    format_epoch,
    list_checkpoints,
    read_checkpoint,
    read_variables,
    write_history,
)
from cvd.training.fitting import measure_accuracy, train_model
from cvd.training.state import load_state

SIZE_PX = 46
EPOCHS = 5
ROOT = Path(__file__).parents[2]
VARIANT = {
    "epochs": EPOCHS, "optimizer": "adam", "learning_rate": 3e-3, "schedule": "constant", "warmup_fraction": 0.0,
    "weight_decay": 0.0, "l2": 0.0, "label_smoothing": 0.0, "patience": None, "keep": "best",
}  # fmt: skip


pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # Keras' own


def make_examples(n: int, seed: int) -> Examples:
    """Make examples of noise, which can only be learnt by heart."""
    labels = np.arange(n) % 2
    images = np.random.default_rng(seed).integers(0, 256, (n, SIZE_PX, SIZE_PX, 3), np.uint8)
    paths = [f"{index}.jpg" for index in range(n)]
    return Examples(paths, labels, lambda indices: images[indices], images.shape[1:], np.dtype(np.uint8))


def flip(images: np.ndarray, epoch: int, indices: np.ndarray) -> np.ndarray:
    return images[:, :, ::-1] if epoch % 2 else images


def build(dtype: str) -> keras.Model:
    return build_plain(size_px=SIZE_PX, dropout=0.5, dtype=dtype, width=32, depth=4)


def build_without_dropout(dtype: str) -> keras.Model:
    return build_plain(size_px=SIZE_PX, dropout=0.0, dtype=dtype, width=32, depth=4)


def build_with_frozen_layers(dtype: str) -> keras.Model:
    """A flat network whose first convolution, with its BatchNorm, does not learn."""
    x = pixels = keras.Input((SIZE_PX, SIZE_PX, 3))
    for name in ("frozen", "learning"):
        convolution = keras.layers.Conv2D(4, 3, strides=4, name=name, dtype=dtype)
        normalisation = keras.layers.BatchNormalization(name=f"{name}_norm", dtype=dtype)
        convolution.trainable = normalisation.trainable = name != "frozen"
        x = normalisation(convolution(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, keras.layers.Dense(1, name="logit", dtype="float32")(x))


def train(examples: Examples | None = None, validation: Examples | None = None, **arguments: object) -> Training:
    variant = {key: arguments.pop(key, value) for key, value in VARIANT.items()}
    chosen = {"build": build, "batch_size": 8, "precision": "float32", "seed": 3, "augment": Augment(flip)} | arguments
    pair = {"train": examples or make_examples(60, 1), "validation": validation or make_examples(20, 2)}
    return train_model(variant=variant, **pair, **chosen)


def assert_same_bits(one: Training, other: Training) -> None:
    assert one.history == other.history
    assert one.saved_epoch == other.saved_epoch
    for mine, theirs in zip(one.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def kill_after_epoch_3(epoch: int, metrics: dict[str, float]) -> None:
    if epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed() -> Training:
    return train()


def test_same_seed_gives_the_same_bits_and_another_seed_others(undisturbed: Training) -> None:
    assert_same_bits(undisturbed, train())
    assert train(seed=4, epochs=1).history[0] != undisturbed.history[0]


def test_history_has_every_epoch_and_column(undisturbed: Training, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write_history(undisturbed.history, path)
    frame = pd.read_csv(path)
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["epoch"]) == [1, 2, 3, 4, 5]
    assert set(frame["learning_rate"]) == {0.003}
    assert frame.to_dict("records") == undisturbed.history
    assert undisturbed.steps_per_epoch == 8  # 60 / 8, rounded up
    assert len(undisturbed.epoch_seconds) == EPOCHS


def test_best_is_the_model_of_the_lowest_validation_loss(undisturbed: Training) -> None:
    losses = [row["val_loss"] for row in undisturbed.history]
    assert undisturbed.saved_epoch == 1 + losses.index(min(losses))
    assert undisturbed.saved_epoch < EPOCHS, "a test of nothing"
    shorter = train(epochs=undisturbed.saved_epoch, keep="last")
    for one, other in zip(undisturbed.model.get_weights(), shorter.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_killed_midway_ends_in_the_same_bits(undisturbed: Training, tmp_path: Path) -> None:
    threads = tf.config.threading
    code = f"""if True:
        import tensorflow as tf
        tf.config.threading.set_intra_op_parallelism_threads({threads.get_intra_op_parallelism_threads()})
        tf.config.threading.set_inter_op_parallelism_threads({threads.get_inter_op_parallelism_threads()})
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_training import kill_after_epoch_3, train
        train(on_epoch=kill_after_epoch_3, state_folder=Path({str(tmp_path)!r}))
    """
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = load_state(tmp_path / "state.npz")
    assert state is not None
    assert state.epochs in (2, 3)  # the third may have been on its way to the disk
    told: list[int] = []
    resumed = train(state_folder=tmp_path, on_epoch=lambda epoch, metrics: told.append(epoch))
    assert_same_bits(resumed, undisturbed)
    assert told == [1, 2, 3, 4, 5]
    assert resumed.epoch_seconds[: state.epochs] == state.epoch_seconds


@pytest.mark.parametrize("after", [1, EPOCHS])
def test_ctrl_c_keeps_the_finished_epochs(undisturbed: Training, tmp_path: Path, after: int) -> None:
    def interrupt(epoch: int, metrics: dict[str, float]) -> None:
        assert metrics["images_per_second"] > 0
        if epoch == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(state_folder=tmp_path, on_epoch=interrupt)
    assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"state.npz", "state.best"}
    assert_same_bits(train(state_folder=tmp_path), undisturbed)


def count_waiting_epochs(training: Training) -> list[int]:
    """Count, after each epoch, the epochs since the lowest validation loss."""
    losses = [row["val_loss"] for row in training.history]
    return [epoch - losses[: epoch + 1].index(min(losses[: epoch + 1])) for epoch in range(len(losses))]


def test_early_stopping_comes_with_patience_and_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    settings = {"epochs": 12, "patience": 2, "learning_rate": 1e-2}
    whole, ended = train(**settings | {"patience": None}), train(**settings)
    n_epochs = len(ended.history)
    assert count_waiting_epochs(whole).index(2) + 1 == n_epochs < 12, "a test of nothing"
    assert ended.history == whole.history[:n_epochs]
    assert ended.saved_epoch == n_epochs - 2

    for stop_after in (1, n_epochs):  # the last one: it was over already, and nothing may be trained on top

        def interrupt(epoch: int, metrics: dict[str, float], stop_after: int = stop_after) -> None:
            if epoch == stop_after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(**settings, state_folder=tmp_path, on_epoch=interrupt)
        assert_same_bits(train(**settings, state_folder=tmp_path), ended)
        for file in tmp_path.iterdir():
            file.unlink()


def test_checkpoint_is_the_network_of_a_shorter_training(tmp_path: Path) -> None:
    def interrupt(epoch: int, metrics: dict[str, float]) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    settings = {"keep": "last", "state_folder": tmp_path, "every_epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        train(**settings, on_epoch=interrupt)
    whole = train(**settings)
    assert_same_bits(whole, train(keep="last"))
    kept = list_checkpoints(tmp_path)
    assert list(kept) == [2, 4]
    for epoch, path in kept.items():
        expected = read_variables(train(keep="last", epochs=epoch).model.variables)
        for array, other in zip(read_checkpoint(path), expected, strict=True):
            np.testing.assert_array_equal(array, other)
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(InputError, match=rf"epoch-{epoch}\.npz is damaged"):
            read_checkpoint(path)


def test_schedule_goes_on_after_an_interruption_and_is_in_the_history(tmp_path: Path) -> None:
    settings = {"epochs": 4, "schedule": "cosine", "warmup_fraction": 0.25, "optimizer": "adamw", "weight_decay": 0.1}
    whole = train(**settings)
    steps = np.array([8, 16, 24, 32]) - 1  # 60 images, 8 at a time: the last step of each epoch
    expected = 3e-3 * np.minimum((steps + 1) / 9, (1 + np.cos(np.pi * np.clip((steps - 8) / 24, 0, 1))) / 2)
    np.testing.assert_allclose([row["learning_rate"] for row in whole.history], expected, rtol=1e-5)

    def interrupt(epoch: int, metrics: dict[str, float]) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(**settings, state_folder=tmp_path, on_epoch=interrupt)
    assert_same_bits(train(**settings, state_folder=tmp_path), whole)


def test_penalty_and_smoothing_change_the_training_but_not_what_its_loss_means() -> None:
    examples = make_examples(21, 5)
    still = {"epochs": 1, "optimizer": "sgd", "learning_rate": 1e-12, "augment": None}
    settings = [{}, {"l2": 0.1}, {"label_smoothing": 0.2}]
    losses = [train(examples, examples, **still, **setting).history[0]["val_loss"] for setting in settings]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    kernels = [
        np.linalg.norm(train(epochs=2, augment=None, **setting).model.get_layer("dense").kernel.numpy())
        for setting in ({}, {"l2": 1.0})
    ]
    assert kernels[1] < 0.9 * kernels[0]


def test_penalty_is_the_sum_of_the_trained_kernels_squares() -> None:
    model = train(epochs=1, l2=0.25).model
    kernels = [weight.numpy() for weight in model.trainable_weights if weight.name == "kernel"]
    assert len(kernels) == 6
    np.testing.assert_allclose(
        float(tf.add_n(model.losses)), 0.25 * sum(np.sum(kernel**2) for kernel in kernels), rtol=1e-5
    )
    assert not train(epochs=1).model.losses


def test_frozen_weights_and_statistics_stay_and_others_move() -> None:
    keras.utils.set_random_seed(3)
    before = build_with_frozen_layers("float32")
    after = train(build=build_with_frozen_layers, epochs=1, keep="last").model
    for old, new in zip(before.layers, after.layers, strict=True):
        for one, other in zip(old.get_weights(), new.get_weights(), strict=True):
            assert np.array_equal(one, other) == (not new.trainable), new.name


def test_frozen_weight_that_moves_is_noticed() -> None:
    def shake(epoch: int, metrics: dict[str, float]) -> None:
        made[0].get_layer("frozen_norm").moving_mean.assign_add(np.ones(4))

    made: list[keras.Model] = []

    def build(dtype: str) -> keras.Model:
        made.append(build_with_frozen_layers(dtype))
        return made[0]

    with pytest.raises(RuntimeError, match=r"frozen weights of the network .* have changed"):
        train(build=build, epochs=1, keep="last", on_epoch=shake)


def test_epoch_averages_over_images_and_accuracy_turns_at_logit_0() -> None:
    examples = make_examples(21, 5)
    training = train(examples, examples, epochs=1, batch_size=8, optimizer="sgd", learning_rate=1e-12, augment=None)
    logits = training.model(examples.fetch(np.arange(21)), training=False).numpy()[:, 0]
    losses = np.logaddexp(0, logits) - examples.labels * logits
    row = training.history[0]
    assert math.isclose(row["val_loss"], losses.mean(), rel_tol=1e-5)
    assert math.isclose(row["val_accuracy"], np.mean((logits > 0) == examples.labels), rel_tol=1e-6)


def test_history_of_mixed_images_is_against_their_mixed_labels() -> None:
    """Also with a penalty and smoothing: the loss leaves those out, and the larger share decides what is right."""

    def mix(images: np.ndarray, labels: np.ndarray, epoch: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return images, soft[indices]

    examples = make_examples(24, 5)
    soft = np.random.default_rng(0).uniform(0, 1, (24, 1)).astype(np.float32)
    augment = Augment(lambda images, epoch, indices: images, mix)
    still = {"epochs": 1, "batch_size": 8, "optimizer": "sgd", "learning_rate": 1e-12, "build": build_without_dropout}
    for setting in ({}, {"l2": 0.1, "label_smoothing": 0.2}):
        training = train(examples, examples, augment=augment, **still, **setting)
        logits = training.model(examples.fetch(np.arange(24)), training=False).numpy()
        row = training.history[0]
        assert row["loss"] == pytest.approx(np.mean(np.logaddexp(0, logits) - soft * logits), rel=1e-5)
        assert row["accuracy"] == pytest.approx(np.mean((logits > 0) == (soft > 0.5)), rel=1e-6)
        assert 0 < row["accuracy"] < 1
        hard = examples.labels[:, np.newaxis]
        assert row["val_accuracy"] == pytest.approx(np.mean((logits > 0) == hard), rel=1e-6)


def test_accuracy_of_whole_labels_is_keras_own() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 2, (50, 1)).astype(np.float32), rng.normal(size=(50, 1)).astype(np.float32)
    own = keras.metrics.MeanMetricWrapper(measure_accuracy)
    peer = keras.metrics.BinaryAccuracy(threshold=0.0)
    for part in (slice(0, 20), slice(20, 40), slice(40, 50)):
        own.update_state(labels[part], logits[part])
        peer.update_state(labels[part], logits[part])
    assert float(own.result()) == float(peer.result())


def test_mixed_precision_is_saved_in_float32(tmp_path: Path) -> None:
    training = train(epochs=1, precision="mixed_bfloat16")
    assert training.model.get_layer("conv1").compute_dtype == "bfloat16"
    save_model(training.model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.dtype_policy.name for layer in loaded.layers} == {"float32"}
    for one, other in zip(loaded.get_weights(), training.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_same_bits(training, train(epochs=1, precision="mixed_bfloat16"))


def test_shards_end_in_the_same_bits_as_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    rows = []
    for split, n in (("train", 22), ("validation", 6)):
        for index in range(n):
            path = f"{split}/{index}.jpg"
            (tmp_path / split).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / path), cv2.resize(rng.integers(0, 256, (9, 7, 3), np.uint8), (70, 90)))
            rows.append({"path": path, "label": index % 2, "split": split, "sha256": f"{index}"})
    manifest = pd.DataFrame(rows)
    shards = tmp_path / "shards"
    shards.mkdir()
    write_shards(tmp_path, manifest, shards, size_px=SIZE_PX, encoding="raw", size_mb=1, splits=("train", "validation"))
    from_files = partial(read_files, tmp_path, manifest, size_px=SIZE_PX)
    from_shards = partial(read_shards, shards)

    def hold(examples: Examples) -> Examples:
        return hold_part(examples, range(len(examples)), memory_bytes=10**9)

    trainings = [
        train(hold(from_files("train")), hold(from_files("validation")), epochs=2),
        train(hold(from_shards("train")), hold(from_shards("validation")), epochs=2),
        train(from_shards("train"), from_shards("validation"), epochs=2),
    ]
    assert_same_bits(trainings[0], trainings[1])
    assert_same_bits(trainings[0], trainings[2])


def test_loss_that_is_not_finite_is_explained() -> None:
    message = r"^(val_)?loss of epoch \d is (nan|inf): lower the variant's learning_rate, now 1e\+20$"
    with pytest.raises(InputError, match=message):
        train(optimizer="sgd", learning_rate=1e20)


def test_memory_that_runs_out_is_explained() -> None:
    def fail(indices: np.ndarray) -> np.ndarray:
        raise MemoryError

    with pytest.raises(InputError, match=r"^not enough memory for this network with 8 images at a time: lower"):
        train(replace(make_examples(8, 1), fetch=fail))


def test_progress_is_a_line_per_epoch_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    train(epochs=2)
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 2
    assert out.startswith("epoch 1/2  loss ")
    assert "epoch 1/2" not in err


def test_line_of_an_epoch() -> None:
    row = {"epoch": 3, "loss": 0.61234, "accuracy": 0.66, "val_loss": 0.62, "val_accuracy": 0.65}
    line = "loss 0.6123 accuracy 0.660  val_loss 0.6200 val_accuracy 0.650  312 images/s  eta"
    assert format_epoch(row, epochs=20, images_per_second=312.3, seconds=[9.0, 2.0, 3.0]) == f"epoch  3/20  {line} 0:51"
    assert format_epoch(row, epochs=2003, images_per_second=312.3, seconds=[2]) == f"epoch    3/2003  {line} 1:06:40"
