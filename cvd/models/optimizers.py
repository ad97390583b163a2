"""The optimizers, by the names that params.yaml gives them."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf


class FusedRMSprop(keras.optimizers.RMSprop):
    """Keras' RMSprop as one operation per variable instead of ten, each of which goes through memory anew.

    A step is the same to rounding. Without momentum, weight decay or centring.
    """

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the state of all variables."""
        super().build(variables)
        # The operation writes its last step there. Without momentum it is not read, so it is no state.
        self._steps = [tf.Variable(tf.zeros(variable.shape), trainable=False) for variable in variables]

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Changes a variable, and its running mean of squared gradients, in place."""
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._velocities[index].value.handle,
            mom=self._steps[index].handle,
            lr=learning_rate,
            rho=self.rho,
            momentum=0.0,
            epsilon=self.epsilon,
            grad=gradient,
        )


OPTIMIZERS: Mapping[str, Callable[[float], keras.Optimizer]] = {
    "rmsprop": lambda rate: FusedRMSprop(rate),
    "adam": lambda rate: keras.optimizers.Adam(rate),
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
}
