"""The threads that TensorFlow computes on."""


def set_threads(within: int, across: int | None = None) -> None:
    """Limit TensorFlow to `within` threads in one operation, and `across` operations at once (None: as many).

    Sums are split among the threads of an operation, so their number changes the last bits of a result.

    Raises:
        RuntimeError: TensorFlow has started already, with another number.
    """
    import tensorflow as tf

    config = tf.config.threading
    across = within if across is None else across
    if config.get_intra_op_parallelism_threads() != within:
        config.set_intra_op_parallelism_threads(within)
    if config.get_inter_op_parallelism_threads() != across:
        config.set_inter_op_parallelism_threads(across)
