"""Small classifiers with weights that NumPy draws, the same in every version of Keras."""

import keras
import numpy as np

SIDE = 33


def build_plain(units: int = 1, activation: str | None = None) -> keras.Model:
    inputs = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="rescaling")(inputs)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="conv1")(x)
    x = keras.layers.MaxPooling2D(name="pool1")(x)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="conv2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(16, activation="relu", name="dense")(x)
    return keras.Model(inputs, keras.layers.Dense(units, activation=activation, name="logit")(x), name="plain")


def build_residual(units: int = 1) -> keras.Model:
    inputs = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = keras.layers.Conv2D(6, 3, padding="same", name="stem")(
        keras.layers.Rescaling(1 / 255, name="rescaling")(inputs)
    )
    y = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
    y = keras.layers.Conv2D(6, 3, padding="same", name="branch")(y)
    x = keras.layers.Add(name="sum")([x, y])
    x = keras.layers.Conv2D(7, 3, strides=2, activation="relu", name="last")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(units, name="logit")(x), name="residual")


def build_mobilenet(units: int = 1) -> keras.Model:
    base = keras.applications.MobileNetV2(input_shape=(SIDE, SIDE, 3), alpha=0.35, weights=None, include_top=False)
    pooled = keras.layers.GlobalAveragePooling2D(name="features")(base.output)
    return keras.Model(base.input, keras.layers.Dense(units, name="logit")(pooled), name="mobilenet")


BUILDERS = {"plain": build_plain, "residual": build_residual, "mobilenet": build_mobilenet}
# An early layer and the last one.
LAYERS = {"plain": ("conv1", "conv2"), "residual": ("sum", "last"), "mobilenet": ("block_3_expand_relu", "out_relu")}


def build(name: str, units: int = 1) -> keras.Model:
    """A network whose weights follow from its shapes: He's scale, biases and statistics near their start."""
    model = BUILDERS[name](units)
    rng = np.random.default_rng(3)
    for layer in model.layers:
        layer.set_weights([_draw(rng, weight) for weight in layer.get_weights()])
    return model


def _draw(rng: np.random.Generator, weight: np.ndarray) -> np.ndarray:
    if weight.ndim == 1:  # biases and statistics; a variance stays positive
        return (weight + rng.uniform(-0.1, 0.1, weight.shape)).astype(np.float32)
    fan_in = weight[..., 0].size if weight.shape[-1] > 1 or weight.ndim == 2 else weight[..., 0, 0].size
    return (rng.normal(size=weight.shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def draw_images() -> np.ndarray:
    """(3, SIDE, SIDE, 3), float32, 0..255."""
    return np.random.default_rng(0).uniform(0, 255, (3, SIDE, SIDE, 3)).astype(np.float32)
