"""The heads on a backbone: a small one that is trained, or ImageNet's own, whose cats and dogs are summed."""

from collections.abc import Sequence

import keras

from cvd.models.networks.layers import chain_layers

FEATURES = "features"  # the backbone's layer that a head stands on
CLASSES = "classes"  # the backbone's layer of ImageNet's logits, (n, 1000)
# The classes of ILSVRC 2012 in order: 118 dogs (Chihuahua to Mexican hairless), 5 cats (tabby to Egyptian cat).
DOGS, CATS = slice(151, 269), slice(281, 286)


def build_head(*, n_features: int, dropout: float, dtype: str = "float32") -> keras.Model:
    """Build the small network on a frozen backbone: features (n, k) to logits (n, 1), float32.

    Args:
        n_features: k, at least 1.
        dropout: share of the features dropped in training, 0..0.95; 0 leaves the layer out.
        dtype: policy of the dropout layer, "float32" or "mixed_bfloat16"; the logit is float32 either way.
    """
    layers: list[keras.Layer] = [keras.layers.Dense(1, name="logit", dtype="float32")]
    if dropout:
        layers.insert(0, keras.layers.Dropout(dropout, name="head_dropout", dtype=dtype))
    return chain_layers(layers, keras.Input((n_features,), name="head_input", dtype="float32"), "head")


def sum_classes(backbone: keras.Model) -> keras.Model:
    """Turn a backbone's classes into one logit, ln(p(dogs) / p(cats)): a flat graph that shares its weights.

    p sums the probabilities of ImageNet's 118 dogs, or of its 5 cats. Nothing in the graph learns.

    Raises:
        ValueError: the backbone has no layer `classes` on its layer `features`.
    """
    layers = {layer.name: layer for layer in backbone.layers}
    if CLASSES not in layers or layers[CLASSES].input is not layers[FEATURES].output:
        raise ValueError(f"backbone {backbone.name!r} has no ImageNet classes on its features")
    scores = layers[CLASSES].output  # (n, 1000)
    dogs, cats = (keras.ops.logsumexp(scores[:, group], axis=1, keepdims=True) for group in (DOGS, CATS))  # (n, 1)
    model = keras.Model(backbone.input, keras.layers.Activation("linear", name="logit")(dogs - cats), name="zero_shot")
    model.trainable = False
    return model


def attach_head(backbone: keras.Model, head: keras.Model) -> keras.Model:
    """Join a backbone, up to its layer `features`, and a head into one flat graph of pixels to logits (n, 1), float32.

    Its weights are copies; those of the backbone are frozen.

    Raises:
        ValueError: the backbone's features are not as many as the head takes, or it has no layer `features`.
    """
    output = backbone.get_layer(FEATURES).output
    if output.shape[1:] != head.input_shape[1:]:
        raise ValueError(f"the backbone has {output.shape[-1]} features, the head takes {head.input_shape[-1]}")
    twins = [_copy_layer(layer) for layer in head.layers[1:]]
    for twin in twins:
        output = twin(output)
    _copy_variables(head.variables, [x for twin in twins for x in twin.variables])
    joined = keras.Model(backbone.input, output, name="transfer")
    model = keras.models.clone_model(joined, clone_function=_copy_layer)
    _copy_variables(joined.variables, model.variables)
    trained = {twin.name for twin in twins}
    for layer in model.layers:
        layer.trainable = layer.name in trained
    return model


def split_head(model: keras.Model) -> keras.Model:
    """Take the part of a model behind its layer `features`, sharing its weights: features (n, k) to logits (n, 1)."""
    return keras.Model(model.get_layer(FEATURES).output, model.output, name="head")


def _copy_layer(layer: keras.Layer) -> keras.Layer:
    """Copy a layer, not yet built, computing in float32."""
    return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})


def _copy_variables(sources: Sequence[keras.Variable], targets: Sequence[keras.Variable]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.assign(source)
