"""How a process finds its place among those that train together."""

import tensorflow as tf

from cvd.training.devices import ONE_DEVICE, OneDevice
from cvd.training.distributed.cluster import ALONE, find_role, meet_peers
from cvd.training.distributed.loop import SeveralDevices


def join_training(strategy: str) -> OneDevice:
    """Start what `train.strategy` and TF_CONFIG ask for, before TensorFlow does anything else.

    `mirrored` puts a copy of the network on each GPU or, without any, on each of two halves of the processor, to try
    it. `multi_worker` puts one on each GPU, or the processor, of every process.

    Raises:
        InputError: the strategy and TF_CONFIG do not fit together, or this process cannot listen where TF_CONFIG says.
        WorkerLostError: another process does not start.
    """
    cluster = find_role(strategy)
    if strategy == "one":
        return ONE_DEVICE
    if cluster is None:
        return SeveralDevices(tf.distribute.MirroredStrategy(_list_devices()), ALONE)
    meet_peers(cluster)
    return SeveralDevices(tf.distribute.MultiWorkerMirroredStrategy(), cluster)


def _list_devices() -> list[str]:
    if not tf.config.list_physical_devices("GPU"):
        (processor,) = tf.config.list_physical_devices("CPU")
        if tf.config.get_logical_device_configuration(processor) is None:
            tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]
