"""The training loop of several processors or machines, where `fit` fails in Keras 3 or weighs uneven shares wrongly."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from cvd.data.examples.pipeline import Augment, order_examples
from cvd.data.examples.reading import Examples
from cvd.data.examples.shares import PartOfBatch, stream_parts
from cvd.training.course import PURE_LOSS
from cvd.training.distributed.strategy import Distribution, prepare_model


def fit_distributed(
    model: keras.Model,
    distribution: Distribution,
    train: Examples,
    validation: Examples,
    *,
    batch_size: int,
    seed: int,
    epochs: int,
    first_epoch: int,
    augment: Augment | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Does what `model.fit` does on one device, to rounding: the same batches, losses, history and callbacks.

    Each worker takes those examples of a batch that are its own, and the gradients of all are added up. Dropout is
    another draw than on one device: the replicas draw for their own shares.

    Args:
        model: compiled with a loss of one logit.
        distribution: in whose scope model and optimizer were made.
        train: what it learns from; the worker's own part is fetched.
        validation: what it is measured on; likewise.
        batch_size: examples per step, of all workers together.
        seed: with the epoch it gives the order.
        epochs: where to end.
        first_epoch: where to begin.
        augment: applied to training images.
        callbacks: told of epochs and batches, on every worker; `model.stop_training` ends after an epoch.

    Raises:
        WorkerLostError: another worker is gone.
    """
    prepare_model(model)
    steps = _Steps(model, distribution, train)
    told = keras.callbacks.CallbackList(list(callbacks), model=model)
    parts = distribution.find_own(train), distribution.find_own(validation)
    model.stop_training = False
    told.on_train_begin()
    for epoch in range(first_epoch, epochs):
        told.on_epoch_begin(epoch)
        shares = stream_parts(
            train,
            parts[0],
            order=lambda epoch: order_examples(len(train), seed=seed, epoch=epoch),
            epochs=range(epoch, epoch + 1),
            batch_size=batch_size,
            at_least=distribution.n_local,
            augment=augment,
        )
        logs = steps.run(shares, told, len(train))
        told.on_test_begin()
        shares = stream_parts(
            validation,
            parts[1],
            order=lambda _: np.arange(len(validation)),
            epochs=range(1),
            batch_size=batch_size,
            at_least=distribution.n_local,
        )
        measured = steps.run(shares, None, len(validation))
        told.on_test_end()
        told.on_epoch_end(epoch, logs | {f"val_{name}": value for name, value in measured.items()})
        if model.stop_training:
            break
    told.on_train_end()


class _Steps:
    """A step of training and one of validation, compiled once: all workers must count their collectives alike."""

    def __init__(self, model: keras.Model, distribution: Distribution, examples: Examples) -> None:
        self._model = model
        self._distribution = distribution
        signature = [
            tf.TensorSpec((None, *examples.shape), tf.as_dtype(examples.dtype)),
            tf.TensorSpec((None, 1), tf.float32),
            tf.TensorSpec((None,), tf.float32),
            tf.TensorSpec((), tf.float32),
        ]
        self._train = tf.function(lambda *share: self._spread(self._learn, share), input_signature=signature)
        self._validate = tf.function(lambda *share: self._spread(self._measure, share), input_signature=signature)

    def run(
        self, shares: Iterable[PartOfBatch], told: keras.callbacks.CallbackList | None, n: int
    ) -> dict[str, np.float32]:
        """Goes through an epoch's shares; `told` is for training. Returns means over all workers' n examples."""
        step = self._train if told else self._validate
        totals = []
        with self._distribution.explain_losses():
            for index, share in enumerate(shares):
                if told:
                    told.on_train_batch_begin(index)
                n_whole = np.float32(share.n_whole)
                totals.append(step(share.images, share.labels, share.weights, n_whole))
                if told:
                    told.on_train_batch_end(index)
            own = np.stack([total.numpy() for total in totals]).astype(np.float64).sum(axis=0)
        means = (self._distribution.add_up(own) / n).astype(np.float32)
        return dict(zip(("loss", PURE_LOSS, "accuracy"), means, strict=True))

    def _spread(self, work: object, share: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Sum of what `work` returns for equal parts of the worker's share, one on each of its replicas."""
        *columns, n_whole = share
        n_local = self._distribution.n_local

        def run() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            number = context.replica_id_in_sync_group % n_local
            b = tf.shape(columns[0])[0]
            start, stop = number * b // n_local, (number + 1) * b // n_local
            return work(*(column[start:stop] for column in columns), n_whole)  # type: ignore[operator]

        strategy = self._distribution.strategy
        return tf.add_n(strategy.experimental_local_results(strategy.run(run)))

    def _learn(self, images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, n_whole: tf.Tensor) -> tf.Tensor:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            sums = self._evaluate(images, labels, weights, n_whole, training=True)
            loss = sums[0] / n_whole
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self._model.optimizer.apply(gradients, variables)  # adds up those of all replicas
        return sums

    def _measure(self, images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, n_whole: tf.Tensor) -> tf.Tensor:
        return self._evaluate(images, labels, weights, n_whole, training=False)

    def _evaluate(
        self, images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, n_whole: tf.Tensor, *, training: bool
    ) -> tf.Tensor:
        """Sums of the loss, penalties included, and of cross-entropy, and the number of right answers: (3,)."""
        logits = self._model(images, training=training)
        loss = tf.reduce_sum(self._model.loss.call(labels, logits) * weights)
        if self._model.losses:
            loss += tf.add_n(self._model.losses) * n_whole / self._distribution.n_replicas
        is_right = tf.equal(tf.cast(logits > 0, tf.float32), labels)[:, 0]
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)[:, 0]
        return tf.stack([loss, *(tf.reduce_sum(tf.cast(each, tf.float32) * weights) for each in (entropy, is_right))])
