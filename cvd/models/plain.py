"""The plain network."""

import keras

from cvd.models.layers import chain_layers

FILTERS = (32, 64, 128, 128)
UNITS = 512
SMALLEST_PX = 46  # four times a 3x3 valid convolution and a pooling leave one position


def build_plain(
    *, size_px: int, dropout: float, dtype: str = "float32", relu_after_pooling: bool = False
) -> keras.Model:
    """The textbook's network (Chollet, Deep Learning with Python, 2017, listing 5.5), rescaling inside.

    The initial weights depend on the random seed only, not on `dropout` or `dtype`, so that variants start alike.

    Args:
        size_px: side of the images, at least 46.
        dropout: share of the flattened features dropped in training, 0..0.95; 0 leaves the layer out.
        dtype: policy of the hidden layers, "float32" or "mixed_bfloat16"; pixels and logit are float32 either way.
        relu_after_pooling: for training: the largest of rectified values is the largest value, rectified, so outputs
            and gradients are the same to the bit, and a quarter as many values have to be rectified: a sixth faster.

    Returns:
        Maps pixels (n, size_px, size_px, 3), 0..255, float32 or uint8, to logits (n, 1), float32; positive means dog.

    Raises:
        ValueError: `size_px` leaves nothing after four poolings.
    """
    if size_px < SMALLEST_PX:
        raise ValueError(f"size_px is {size_px}: the plain network needs at least {SMALLEST_PX}")
    layers: list[keras.Layer] = [keras.layers.Rescaling(1 / 255, name="rescaling", dtype="float32")]
    activation = None if relu_after_pooling else "relu"
    for number, filters in enumerate(FILTERS, start=1):
        layers.append(keras.layers.Conv2D(filters, 3, activation=activation, name=f"conv{number}", dtype=dtype))
        layers.append(keras.layers.MaxPooling2D(2, name=f"pool{number}", dtype=dtype))
        if relu_after_pooling:
            layers.append(keras.layers.ReLU(name=f"relu{number}", dtype=dtype))
    layers.append(keras.layers.Flatten(name="flatten", dtype=dtype))
    layers.append(keras.layers.Dense(UNITS, activation="relu", name="dense", dtype=dtype))
    layers.append(keras.layers.Dense(1, name="logit", dtype="float32"))
    if dropout:  # made last: its seed is drawn after those of the weights
        layers.insert(-2, keras.layers.Dropout(dropout, name="dropout", dtype=dtype))
    return chain_layers(layers, keras.Input((size_px, size_px, 3), name="pixels", dtype="float32"), "plain")
