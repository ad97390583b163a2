"""The training loop of several processors or machines, where `fit` fails in Keras 3 or weighs uneven shares wrongly."""

from collections.abc import Callable, Iterable
from functools import partial
from types import MethodType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvd.data.examples.batches import order_examples
from cvd.data.examples.reading import Examples
from cvd.data.examples.shares import PartOfBatch, stream_parts
from cvd.training.course import PURE_LOSS
from cvd.training.devices import Batches
from cvd.training.distributed.workers import Workers


class SeveralDevices(Workers):
    """Several devices or processes that train one network."""

    def fit(
        self,
        model: keras.Model,
        train: Examples,
        validation: Examples,
        batches: Batches,
        callback: keras.callbacks.Callback,
    ) -> None:
        """Do what `OneDevice.fit` does, to rounding: the same batches, losses, history and callbacks.

        Each worker takes those examples of a batch that are in its part, and the gradients of all are added up. Dropout
        differs from one device: each replica draws for its own examples.
        """
        prepare_model(model)
        steps = _Steps(model, self, train)
        stream = partial(stream_parts, batch_size=batches.batch_size, at_least=self.n_local)
        order = partial(order_examples, len(train), seed=batches.seed)
        callbacks = keras.callbacks.CallbackList([callback], model=model)
        model.stop_training = False
        callbacks.on_train_begin()
        for epoch in range(batches.first_epoch, batches.epochs):
            callbacks.on_epoch_begin(epoch)
            part = self.find_part(train)
            epochs = range(epoch, epoch + 1)
            shares = stream(train, part, order=lambda n: order(epoch=n), epochs=epochs, augment=batches.augment)
            logs = steps.run(shares, callbacks, len(train))
            callbacks.on_test_begin()
            part = self.find_part(validation)
            shares = stream(validation, part, order=lambda _: np.arange(len(validation)), epochs=range(1))
            measured = steps.run(shares, None, len(validation))
            callbacks.on_test_end()
            callbacks.on_epoch_end(epoch, logs | {f"val_{name}": value for name, value in measured.items()})
            if model.stop_training:
                break
        callbacks.on_train_end()


def prepare_model(model: keras.Model) -> None:
    """Prepare a compiled model for a strategy."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True  # statistics of the whole batch, as on one device, not of each replica's share
    # Our fused optimizers work on one device only: step as Keras' own does, on the same state.
    optimizer = model.optimizer
    stock: Any = next(kind for kind in type(optimizer).__mro__ if kind.__module__.startswith("keras."))
    optimizer.update_step = MethodType(stock.update_step, optimizer)


class _Steps:
    """A step of training and one of validation, compiled once: all workers must count their collectives alike."""

    def __init__(self, model: keras.Model, workers: Workers, examples: Examples) -> None:
        self._model = model
        self._workers = workers
        signature = [
            tf.TensorSpec((None, *examples.shape), tf.as_dtype(examples.dtype)),
            tf.TensorSpec((None, 1), tf.float32),
            tf.TensorSpec((None,), tf.float32),
            tf.TensorSpec((), tf.float32),
        ]
        self._train = tf.function(lambda *share: self._spread(self._learn, share), input_signature=signature)
        measure = partial(self._evaluate, training=False)
        self._validate = tf.function(lambda *share: self._spread(measure, share), input_signature=signature)

    def run(
        self, shares: Iterable[PartOfBatch], callbacks: keras.callbacks.CallbackList | None, n: int
    ) -> dict[str, np.float32]:
        """Train on an epoch's shares, or validate without callbacks; return means over all workers' n examples."""
        step = self._train if callbacks else self._validate
        totals = []
        with self._workers.explain_losses():
            for index, share in enumerate(shares):
                if callbacks:
                    callbacks.on_train_batch_begin(index)
                n_whole = np.float32(share.n_whole)
                totals.append(step(share.images, share.labels, share.weights, n_whole))
                if callbacks:
                    callbacks.on_train_batch_end(index)
            sums = np.stack([total.numpy() for total in totals]).astype(np.float64).sum(axis=0)  # (3,), of this worker
        means = (self._workers.add_up(sums) / n).astype(np.float32)  # (3,), of all
        return dict(zip(("loss", PURE_LOSS, "accuracy"), means, strict=True))

    def _spread(self, work: Callable[..., tf.Tensor], share: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Sum of what `work` returns for equal parts of the worker's share, one on each of its replicas: (3,)."""
        *columns, n_whole = share
        n_local = self._workers.n_local

        def run() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            number = context.replica_id_in_sync_group % n_local
            b = tf.shape(columns[0])[0]
            start, stop = number * b // n_local, (number + 1) * b // n_local
            return work(*(column[start:stop] for column in columns), n_whole)

        strategy = self._workers.strategy
        return tf.add_n(strategy.experimental_local_results(strategy.run(run)))

    def _learn(self, images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, n_whole: tf.Tensor) -> tf.Tensor:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            sums = self._evaluate(images, labels, weights, n_whole, training=True)
            loss = sums[0] / n_whole
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self._model.optimizer.apply(gradients, variables)  # adds up those of all replicas
        return sums

    def _evaluate(
        self, images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, n_whole: tf.Tensor, *, training: bool
    ) -> tf.Tensor:
        """Sums of the loss, penalties included, and of cross-entropy, and the number of right answers: (3,)."""
        logits = self._model(images, training=training)  # (b, 1)
        loss = tf.reduce_sum(self._model.loss.call(labels, logits) * weights)
        if self._model.losses:
            loss += tf.add_n(self._model.losses) * n_whole / self._workers.n_replicas
        is_right = tf.equal(logits > 0, labels > 0.5)[:, 0]  # of a mixed image, the class with the larger share
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)[:, 0]
        return tf.stack([loss, *(tf.reduce_sum(tf.cast(x, tf.float32) * weights) for x in (entropy, is_right))])
