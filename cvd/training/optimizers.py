"""The optimizers and their schedules, by the names that params.yaml gives them."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate with warm-up and, for `cosine`, a decay to zero (Loshchilov and Hutter 2017).

    Step s of n, from 0, with w < n steps of warm-up, has peak * min((s + 1) / (w + 1), f), where f is 1 for `constant`
    and (1 + cos(pi * (s - w) / (n - w))) / 2, from step w on, for `cosine`.
    """

    def __init__(self, kind: str, peak: float, *, steps: int, warmup_steps: int) -> None:
        super().__init__()
        self.kind, self.peak, self.steps, self.warmup_steps = kind, peak, steps, warmup_steps

    def __call__(self, step: Any) -> tf.Tensor:
        """Compute the rate of a step, float32."""
        step = tf.cast(step, tf.float32)
        fall = tf.constant(1.0)
        if self.kind == "cosine":
            done = tf.clip_by_value((step - self.warmup_steps) / (self.steps - self.warmup_steps), 0.0, 1.0)
            fall = 0.5 * (1 + tf.cos(math.pi * done))
        return self.peak * tf.minimum((step + 1) / (self.warmup_steps + 1), fall)


def make_schedule(variant: Mapping[str, Any], *, steps: int) -> Rate:
    """Make the learning rate: a number where it is constant, which costs nothing, else a `Schedule`."""
    kind, peak, warmup_fraction = (variant[key] for key in ("schedule", "learning_rate", "warmup_fraction"))
    if kind == "constant" and not warmup_fraction:
        return peak
    return Schedule(kind, peak, steps=steps, warmup_steps=int(warmup_fraction * steps))


class FusedRMSprop(keras.optimizers.RMSprop):
    """Keras' RMSprop, to rounding, as one operation per variable instead of ten; no momentum, decay or centring."""

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the state of all variables."""
        super().build(variables)
        # The operation writes its last step there. Without momentum it is not read, so it is no state.
        self._steps = [tf.Variable(tf.zeros(variable.shape), trainable=False) for variable in variables]

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Update a variable and its running mean of squared gradients in place."""
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


class FusedAdamW(keras.optimizers.AdamW):
    """Keras' AdamW (Loshchilov and Hutter 2019), to rounding, as one operation per variable; only kernels decay.

    Epsilon stands where the paper on Adam has "epsilon hat", as in Keras.
    """

    def __init__(self, rate: Rate, *, weight_decay: float) -> None:
        super().__init__(rate, weight_decay=weight_decay)
        self.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Update a variable and its two running means in place."""
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


OPTIMIZERS: Mapping[str, Callable[[Rate, float], keras.Optimizer]] = {
    "rmsprop": lambda rate, decay: FusedRMSprop(rate),
    "adam": lambda rate, decay: keras.optimizers.Adam(rate),
    "adamw": lambda rate, decay: FusedAdamW(rate, weight_decay=decay),
    "sgd": lambda rate, decay: keras.optimizers.SGD(rate, momentum=0.9),
}
"""What makes an optimizer of a learning rate and a weight decay, which `adamw` alone has."""
