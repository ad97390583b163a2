"""An image and its mirror: a network that answers with the mean of both, as one flat graph."""

from typing import Any

import keras

MIRRORED = "mirrored"  # the name of a model that answers so


def add_mirror(model: keras.Model) -> keras.Model:
    """Make a graph of pixels to the mean logit, (n, 1), of each image and of its mirror; it shares the weights.

    Both run in one batch, the mirrors behind the images: augmentation at test time (Krizhevsky et al. 2012).
    """
    first, last = model.layers[1].name, model.layers[-1].name

    def call(layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name == first:  # (n, s, s, 3) to (2n, s, s, 3)
            inputs = keras.ops.concatenate([inputs, keras.ops.flip(inputs, axis=2)], axis=0)
        output = layer(inputs, *args, **kwargs)
        if layer.name == last:  # (2n, 1) to (n, 1)
            mean = keras.ops.mean(keras.ops.reshape(output, (2, -1, 1)), axis=0)
            output = keras.layers.Activation("linear", name="mean_logit")(mean)
        return output

    doubled = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(doubled.inputs[0], doubled.output, name=MIRRORED)


def remove_mirror(model: keras.Model) -> keras.Model:
    """Take the graph of pixels to one logit out of one by `add_mirror`; any other model is returned as it is.

    It is a copy. What is drawn and explained is this graph: the answer to the image itself.
    """
    if model.name != MIRRORED:
        return model
    inner = keras.Model(model.layers[1].input, model.layers[-2].output, name="transfer")
    copy = keras.models.clone_model(inner, input_tensors=keras.Input(model.input_shape[1:], name="pixels"))
    copy.set_weights(inner.get_weights())
    return copy
