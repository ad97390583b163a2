"""A backbone with a head on images: what learns, what stays, where it starts, what is saved."""

from pathlib import Path

import keras
import numpy as np
import pytest

from cvd.data.examples.reading import Examples
from cvd.models.networks.head import build_head
from cvd.models.networks.mirroring import remove_mirror
from cvd.models.networks.saving import save_model
from cvd.runtime.errors import InputError
from cvd.training.course import Training
from cvd.training.fitting import train_model
from cvd.training.transfer import Plan, draw_weights, join_backbone, load_start, plan_transfer

SIDE_PX = 32
LAYERS = ("stem", "stem_norm", "block_1_conv", "block_1_norm", "block_2_conv", "block_2_norm")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # Keras' own


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone's folder: a stem and two blocks, with statistics and a head of classes."""
    keras.utils.set_random_seed(5)
    x = pixels = keras.Input((SIDE_PX, SIDE_PX, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="preprocessing")(x)
    for name in ("stem", "block_1", "block_2"):
        x = keras.layers.Conv2D(6, 3, strides=2, name=name if name == "stem" else f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
        x = keras.layers.ReLU(6.0, name=f"{name}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    folder = tmp_path_factory.mktemp("backbone")
    model = keras.Model(pixels, keras.layers.Dense(1000, name="classes")(x))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-0.1, 0.1, 6))
            layer.moving_variance.assign(np.linspace(0.05, 0.2, 6))
    save_model(model, folder / "backbone.keras")
    return folder


def make_examples(n: int, seed: int) -> Examples:
    images = np.random.default_rng(seed).integers(0, 256, (n, SIDE_PX, SIDE_PX, 3), np.uint8)
    return Examples(
        [f"{index}" for index in range(n)], np.arange(n) % 2, lambda at: images[at], images.shape[1:], images.dtype
    )


def plan(network: Path, **changed: object) -> Plan:
    given = {"head": "trained", "mirror": False, "pretrained": True, "unfreeze": 0, "augment": False, "dropout": 0.5}
    return plan_transfer(given | changed, network, make_examples(24, 1), make_examples(8, 2), seed=1, threads=1)


def train(planned: Plan) -> Training:
    variant = {
        "epochs": 2, "optimizer": "adam", "learning_rate": 1e-2, "schedule": "constant", "warmup_fraction": 0.0,
        "weight_decay": 0.0, "l2": 0.0, "label_smoothing": 0.0, "patience": None, "keep": "last",
    }  # fmt: skip
    settings = {"batch_size": 8, "precision": "float32", "seed": 1}
    return train_model(planned.build, planned.train, planned.validation, variant, **settings)


def list_changed(model: keras.Model, start: keras.Model) -> set[str]:
    """Names of the backbone's layers with other weights than at the start."""
    return {
        name
        for name in LAYERS
        for one, other in zip(model.get_layer(name).get_weights(), start.get_layer(name).get_weights(), strict=True)
        if not np.array_equal(one, other)
    }


@pytest.mark.parametrize(
    ("unfreeze", "augment", "changed"),
    [
        (0, False, set()),
        (0, True, set()),
        (1, True, {"block_2_conv"}),
        (2, False, {"block_1_conv", "block_2_conv"}),
    ],
)
def test_what_learns_is_the_head_and_the_last_blocks_convolutions(
    network: Path, tmp_path: Path, unfreeze: int, augment: bool, changed: set[str]
) -> None:
    """BatchNorm stays as it is, statistics and all; the saved graph is flat, takes pixels and ends in one logit."""
    planned = plan(network, unfreeze=unfreeze, augment=augment)
    training = train(planned)
    model = planned.finish(training.model)
    save_model(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert list_changed(loaded, load_start(network)) == changed
    assert not any(isinstance(layer, keras.Model) for layer in loaded.layers)
    assert {"classes", "pixels"} & {layer.name for layer in loaded.layers} == {"pixels"}
    assert {layer.dtype_policy.name for layer in loaded.layers} == {"float32"}
    images = make_examples(8, 2)
    logits = loaded(images.fetch(np.arange(8)), training=False).numpy()
    assert logits.shape == (8, 1)
    losses = np.logaddexp(0, logits[:, 0]) - images.labels * logits[:, 0]
    assert training.history[-1]["val_loss"] == pytest.approx(losses.mean(), rel=1e-4), "not what was measured"


def test_frozen_backbone_on_unaugmented_images_is_run_once(network: Path) -> None:
    planned = plan(network)
    assert planned.train.shape == planned.validation.shape == (6,)
    assert planned.build("float32").input_shape == (None, 6)
    start = load_start(network)
    expected = keras.Model(start.inputs[0], start.get_layer("features").output)(
        make_examples(24, 1).fetch(np.arange(24))
    )
    np.testing.assert_allclose(planned.train.fetch(np.arange(24)), expected, rtol=1e-4, atol=1e-5)


def test_random_backbone_has_the_same_graph_and_draws_of_its_own(network: Path) -> None:
    images = make_examples(24, 1).fetch(np.arange(24))
    real = load_start(network)
    ones, same, others = (draw_weights(real, images, seed=seed) for seed in (1, 1, 2))
    assert [layer.name for layer in ones.layers] == [layer.name for layer in real.layers]
    assert ones.count_params() == real.count_params()
    assert not ones.trainable_weights
    assert list_changed(ones, real) == list_changed(ones, others) == set(LAYERS)
    assert not list_changed(ones, same)
    assert {layer.momentum for layer in ones.layers if layer.name.endswith("_norm")} == {0.99}


def test_random_backbone_normalises_by_the_images_statistics(network: Path) -> None:
    images = make_examples(24, 1).fetch(np.arange(24))
    drawn = draw_weights(load_start(network), images, seed=1)
    for name in ("stem_norm", "block_1_norm", "block_2_norm"):
        values = keras.Model(drawn.inputs[0], drawn.get_layer(name).output)(images).numpy()
        np.testing.assert_allclose(values.mean((0, 1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(values.std((0, 1, 2)), 1, atol=0.05)


def test_random_backbone_is_trained_and_saved(network: Path) -> None:
    planned = plan(network, pretrained=False)
    model = planned.finish(train(planned).model)
    assert list_changed(model, load_start(network)) == set(LAYERS)
    drawn = plan(network, pretrained=False).finish(planned.build("float32"))
    assert not list_changed(model, drawn)


def test_imagenets_own_head_learns_nothing_and_is_measured_once(network: Path) -> None:
    planned = plan(network, head="imagenet", dropout=0.0)
    training = train(planned)
    model = planned.finish(training.model)
    start = load_start(network)
    assert not list_changed(model, start)
    assert [row["epoch"] for row in training.history] == [1]
    for examples, accuracy in ((make_examples(24, 1), "accuracy"), (make_examples(8, 2), "val_accuracy")):
        scores = start(examples.fetch(np.arange(len(examples)))).numpy()
        odds = np.exp(scores[:, 151:269]).sum(axis=1) / np.exp(scores[:, 281:286]).sum(axis=1)
        assert training.history[0][accuracy] == pytest.approx(((odds > 1) == examples.labels).mean())


def test_blocks_that_learn_read_what_the_frozen_ones_give(network: Path) -> None:
    planned = plan(network, unfreeze=1)
    start = load_start(network)
    boundary = keras.Model(start.inputs[0], start.get_layer("block_1_relu").output)
    expected = boundary(make_examples(24, 1).fetch(np.arange(24)))
    np.testing.assert_allclose(planned.train.fetch(np.arange(24)), expected, rtol=1e-3, atol=1e-4)
    blocks = planned.build("float32")
    model = planned.finish(blocks)
    images = make_examples(8, 2).fetch(np.arange(8))
    np.testing.assert_allclose(model(images), blocks(boundary(images)), rtol=1e-5, atol=1e-6)


def test_mirrors_are_learnt_from_and_asked(network: Path) -> None:
    planned = plan(network, mirror=True)
    examples, start = make_examples(24, 1), load_start(network)
    features = keras.Model(start.inputs[0], start.get_layer("features").output)
    images = examples.fetch(np.arange(24))
    plain, mirrored = features(images).numpy(), features(images[:, :, ::-1]).numpy()
    assert planned.augment
    shares = []
    for epoch in range(20):
        values = planned.augment.change(planned.train.fetch(np.arange(24)), epoch, np.arange(24))
        is_mirrored = np.isclose(values, mirrored, rtol=1e-4, atol=1e-5).all(axis=1)
        np.testing.assert_allclose(values[~is_mirrored], plain[~is_mirrored], rtol=1e-4, atol=1e-5)
        shares.append(is_mirrored.mean())
        again = planned.augment.change(planned.train.fetch(np.array([5, 3])), epoch, np.array([5, 3]))
        np.testing.assert_array_equal(again, values[[5, 3]])
    assert 0.4 < np.mean(shares) < 0.6
    assert np.std(shares) > 0
    training = train(planned)
    model = planned.finish(training.model)
    single = remove_mirror(model)
    np.testing.assert_allclose(model(images), (single(images) + single(images[:, :, ::-1])) / 2, rtol=1e-4, atol=1e-5)


def test_fine_tuning_goes_on_from_a_trained_head(network: Path, tmp_path: Path) -> None:
    head = build_head(n_features=6, dropout=0.5)
    head.get_layer("logit").set_weights([np.arange(6, dtype=np.float32)[:, np.newaxis], np.float32([7])])
    joined = join_backbone(load_start(network), head)
    save_model(joined, tmp_path / "transfer.keras")
    model = plan(tmp_path / "transfer.keras", unfreeze=1, augment=True, dropout=0.2).build("float32")
    images = make_examples(8, 2).fetch(np.arange(8))
    np.testing.assert_allclose(model(images), joined(images), rtol=1e-5, atol=1e-5)
    assert model.get_layer("head_dropout").rate == 0.2
    assert {weight.path for weight in model.trainable_weights} == {
        "block_2_conv/kernel", "block_2_conv/bias", "logit/kernel", "logit/bias"
    }  # fmt: skip


def test_what_cannot_be_is_said_in_one_line(network: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^model .*transfer\.keras does not exist: run `dvc repro train@transfer` or"):
        plan(tmp_path / "transfer.keras")
    with pytest.raises(InputError, match=r"^unfreeze is 3: .* has 2 blocks"):
        plan(network, unfreeze=3).build("float32")
    save_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), tmp_path / "other.keras")
    with pytest.raises(InputError, match=r"other\.keras has no layer 'features': it is no backbone with a head$"):
        plan(tmp_path / "other.keras")


def test_changed_backbone_is_not_saved(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = load_start(network)

    def attach_other(backbone: keras.Model, head: keras.Model) -> keras.Model:
        model = attach(backbone, head)
        model.get_layer("stem").bias.assign_add(np.ones(6))
        return model

    import cvd.training.transfer

    attach = cvd.training.transfer.attach_head
    monkeypatch.setattr(cvd.training.transfer, "attach_head", attach_other)
    with pytest.raises(RuntimeError, match="the frozen backbone's weights have changed"):
        join_backbone(start, build_head(n_features=6, dropout=0.0))


def test_maps_that_do_not_fit_into_memory_are_refused(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvd.machine.hardware.read_memory_bytes", lambda: 2_000)
    with pytest.raises(InputError, match=r"not enough memory: what the learning blocks read of 32 images takes"):
        plan(network, unfreeze=1)
