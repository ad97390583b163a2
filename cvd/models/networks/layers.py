"""Sequences of layers, and the table that describes a network's layers."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import keras


class LayerRow(NamedTuple):
    """A line of a network's table."""

    name: str
    type: str
    output_shape: tuple[int | None, ...]
    parameters: int


def chain_layers(layers: Sequence[keras.Layer], inputs: keras.KerasTensor, name: str) -> keras.Model:
    """Build a model of one layer after the other."""
    output = inputs
    for layer in layers:
        output = layer(output)
    return keras.Model(inputs, output, name=name)


def list_leaves(model: keras.Model) -> list[keras.Layer]:
    """List a model's layers, those of the models inside it in their place."""
    leaves = (list_leaves(layer) if isinstance(layer, keras.Model) else [layer] for layer in model.layers)
    return list(chain.from_iterable(leaves))


def describe_layers(model: keras.Model) -> list[LayerRow]:
    """List name, type, output shape and parameters of each layer, in order."""
    return [
        LayerRow(layer.name, type(layer).__name__, tuple(layer.output.shape), layer.count_params())
        for layer in model.layers
    ]


def count_parameters(weights: Sequence[keras.Variable]) -> int:
    """Count the numbers in the weights."""
    return sum(math.prod(weight.shape) for weight in weights)


def format_layers(model: keras.Model, *, title: str, description: str) -> str:
    """Format the table of a network's layers in Markdown, with totals, under a title and a line of description."""
    rows = ["| layer | type | output shape | parameters |", "|---|---|---|---:|"]
    for name, kind, shape, parameters in describe_layers(model):
        sides = " x ".join("n" if side is None else str(side) for side in shape)
        rows.append(f"| `{name}` | {kind} | {sides} | {parameters:,} |")
    total, trained = count_parameters(model.weights), count_parameters(model.trainable_weights)
    rows.append(f"| **total** | | | **{total:,}** |")
    rows.append(f"| trained | | | {trained:,} |")
    rows.append(f"| frozen | | | {total - trained:,} |")
    return f"# {title}\n\n{description}\n\n" + "\n".join(rows) + "\n"
