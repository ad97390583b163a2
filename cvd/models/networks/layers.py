"""Layers in a row, and the table by which people read them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras


class LayerRow(NamedTuple):
    """A line of a network's table."""

    name: str
    type: str
    output_shape: tuple[int | None, ...]
    parameters: int


def chain_layers(layers: Sequence[keras.Layer], inputs: keras.KerasTensor, name: str) -> keras.Model:
    """A model of one layer after the other."""
    output = inputs
    for layer in layers:
        output = layer(output)
    return keras.Model(inputs, output, name=name)


def describe_layers(model: keras.Model) -> list[LayerRow]:
    """Name, type, output shape and parameters of each layer, in order."""
    return [
        LayerRow(layer.name, type(layer).__name__, tuple(layer.output.shape), layer.count_params())
        for layer in model.layers
    ]


def count_parameters(weights: Sequence[keras.Variable]) -> int:
    """How many numbers the weights hold together."""
    return sum(math.prod(weight.shape) for weight in weights)


def format_layers(model: keras.Model, *, title: str, description: str) -> str:
    """The table of a network's layers in Markdown, with totals, under a title and a line that says what it is."""
    rows = ["| layer | type | output shape | parameters |", "|---|---|---|---:|"]
    for name, kind, shape, parameters in describe_layers(model):
        sides = " x ".join("n" if side is None else str(side) for side in shape)
        rows.append(f"| `{name}` | {kind} | {sides} | {parameters:,} |")
    total, trained = count_parameters(model.weights), count_parameters(model.trainable_weights)
    rows.append(f"| **total** | | | **{total:,}** |")
    rows.append(f"| trained | | | {trained:,} |")
    rows.append(f"| frozen | | | {total - trained:,} |")
    return f"# {title}\n\n{description}\n\n" + "\n".join(rows) + "\n"
