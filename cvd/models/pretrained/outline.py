"""Networks with random weights, for the names of their layers: nothing is fetched, read or trained."""

from collections.abc import Mapping
from typing import Any

import keras

from cvd.models.networks.head import attach_head, build_head
from cvd.models.pretrained.building import draw_backbone
from cvd.models.scratch import choose_builder


def outline_network(variant: Mapping[str, Any], *, size_px: int, backbone: Mapping[str, Any]) -> keras.Model:
    """Build a variant's network as its training saves it, but for the weights.

    Args:
        variant: its block of params.yaml's `variants`, with `like` resolved.
        size_px: side of the images, for networks from scratch.
        backbone: the section of params.yaml.
    """
    if variant["network"] != "backbone":
        return choose_builder(variant, size_px=size_px)(dtype="float32")
    network = draw_backbone(backbone["name"], backbone["size_px"])
    head = build_head(n_features=network.get_layer("features").output.shape[-1], dropout=variant["dropout"])
    return attach_head(network, head)
