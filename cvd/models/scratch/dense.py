"""The dense network: no convolution, so that what convolution buys can be measured."""

from typing import Annotated

import keras
from pydantic import Field

from cvd.models.networks.layers import chain_layers


def build_dense(
    *,
    size_px: int,
    dropout: float,
    width: Annotated[int, Field(ge=1, le=4096)],
    depth: Annotated[int, Field(ge=1, le=7)],
    dtype: str = "float32",
) -> keras.Model:
    """Build a multilayer perceptron on the pixels, rescaling inside: every pixel has weights of its own.

    At 150 px, width 51 and depth 2 give 3,445,255 parameters, 0.2% fewer than the plain network's.

    The initial weights depend on the random seed only, not on `dropout` or `dtype`.

    Args:
        size_px: side of the images.
        dropout: share of the last hidden units dropped in training, 0..0.95; 0 leaves the layer out.
        width: units of each hidden layer.
        depth: hidden layers, each with ReLU.
        dtype: policy of the hidden layers, "float32" or "mixed_bfloat16"; pixels and logit are float32 either way.

    Returns:
        Maps pixels (n, size_px, size_px, 3), 0..255, float32 or uint8, to logits (n, 1), float32.
    """
    layers: list[keras.Layer] = [keras.layers.Rescaling(1 / 255, name="rescaling", dtype="float32")]
    layers.append(keras.layers.Flatten(name="flatten", dtype=dtype))
    for number in range(1, depth + 1):
        layers.append(keras.layers.Dense(width, activation="relu", name=f"dense{number}", dtype=dtype))
    layers.append(keras.layers.Dense(1, name="logit", dtype="float32"))
    if dropout:  # made last: its seed is drawn after those of the weights
        layers.insert(-1, keras.layers.Dropout(dropout, name="dropout", dtype=dtype))
    return chain_layers(layers, keras.Input((size_px, size_px, 3), name="pixels", dtype="float32"), "dense")
