"""Networks with random weights, for the names of their layers: nothing is fetched, read or trained."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import keras

from cvd.models.networks.head import attach_head, build_head
from cvd.models.pretrained.building import draw_backbone


def outline_network(variant: Mapping[str, Any], *, size_px: int, backbone: Mapping[str, Any]) -> keras.Model:
    """Build a variant's network as its training saves it, but for the weights.

    Args:
        variant: its block of params.yaml's `variants`, with `like` resolved.
        size_px: side of the images, for networks from scratch.
        backbone: the section of params.yaml.
    """
    kind = variant["network"]
    if kind != "backbone":
        build = getattr(import_module(f"cvd.models.scratch.{kind}"), f"build_{kind}")
        return build(size_px=size_px, **{key: variant[key] for key in ("width", "depth", "dropout")})
    network = draw_backbone(backbone["name"], backbone["size_px"])
    head = build_head(n_features=network.get_layer("features").output.shape[-1], dropout=variant["dropout"])
    return attach_head(network, head)
