"""Outlines have the layers of the networks that are trained."""

from pathlib import Path
from typing import Any

import pytest

from cvd.models.networks.head import attach_head, build_head
from cvd.models.networks.layers import describe_layers
from cvd.models.pretrained.applications import build_graph
from cvd.models.pretrained.lite import build_lite
from cvd.models.pretrained.outline import outline_network
from cvd.models.scratch import choose_builder
from cvd.runtime.params.loading import load_params

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


def outline(name: str, network: str = "EfficientNetLite0") -> list[tuple[Any, ...]]:
    variant = PARAMS.variants[name].model_dump()
    backbone = {"name": network, "weights": "imagenet", "size_px": 75}
    return list(describe_layers(outline_network(variant, size_px=150, backbone=backbone)))


@pytest.mark.parametrize("name", ["baseline", "augmented", "small", "residual"])
def test_networks_from_scratch_are_those_that_are_trained(name: str) -> None:
    model = choose_builder(PARAMS.variants[name].model_dump(), size_px=150)()
    assert outline(name) == describe_layers(model)


@pytest.mark.parametrize(("network", "build"), [("EfficientNetLite0", build_lite), ("MobileNetV2", build_graph)])
def test_backbones_variant_is_the_backbone_without_its_classes_and_a_head(network: str, build: Any) -> None:
    backbone = build(network, 75, has_head=True)
    head = build_head(n_features=1280, dropout=PARAMS.variants["transfer"].model_dump()["dropout"])
    assert outline("transfer", network) == describe_layers(attach_head(backbone, head))
