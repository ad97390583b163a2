"""Grad-CAM beside tf-keras-vis: 100 images, the plain network and MobileNetV2, float32, random weights.

Both give maps at the image's size. "dog": one class at the last convolution. "dog and cat": both, as the sheets show
them, for which tf-keras-vis is called twice. Both are made once and warm; what compiling takes is printed.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest import Goal, divide, print_conditions, print_goals, print_rates, time_contenders
from cvd.runtime.startup import start_tensorflow

if TYPE_CHECKING:
    import keras

ASKED = 3.0
SIGNS = {"dog": (1,), "dog and cat": (1, -1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100, help="how many to explain")
    parser.add_argument("--side", type=int, default=150, help="of the images, px")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    start_tensorflow()
    images = np.random.default_rng(0).uniform(0, 255, (args.images, args.side, args.side, 3)).astype(np.float32)
    data = f"{args.images:,} images of {args.side} px in memory"
    print_conditions("Grad-CAM", data=data, precision="float32")
    goals = []
    for name, (model, layer) in build_networks(args.side).items():
        for work, signs in SIGNS.items():
            contenders = make_contenders(model, layer, images, signs)
            rates = time_contenders(contenders, repeats=args.repeats)
            print_rates(rates, peers=["tf-keras-vis"], work=f"{name}, {work}")
            goals.append(Goal(f"Grad-CAM of {work}, {name}, vs tf-keras-vis", ASKED, divide(*rates.values())))
    print_goals(goals)


def build_networks(side: int) -> "dict[str, tuple[keras.Model, str]]":
    """The networks, and the layer at which each is explained."""
    import keras

    from cvd.models.scratch.plain import build_plain

    keras.utils.set_random_seed(1)
    base = keras.applications.MobileNetV2(input_shape=(side, side, 3), weights=None, include_top=False)
    pooled = keras.layers.GlobalAveragePooling2D(name="features")(base.output)
    mobilenet = keras.Model(base.input, keras.layers.Dense(1, name="logit")(pooled), name="mobilenet")
    plain = build_plain(size_px=side, dropout=0.0, width=32, depth=4)
    return {"plain": (plain, find_last(plain)), "MobileNetV2": (mobilenet, find_last(mobilenet))}


def find_last(model: "keras.Model") -> str:
    from cvd.vis.explaining.layers import choose_grad_cam_layers

    return choose_grad_cam_layers(model, None)[-1]


def make_contenders(
    model: "keras.Model", layer: str, images: np.ndarray, signs: tuple[int, ...]
) -> dict[str, Callable[[], int]]:
    """Ours and the peer's, each giving maps at the image's size for each sign."""
    from cvd.vis.explaining.geometry import upsample_map
    from cvd.vis.explaining.methods import make_explainer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party: it imports SciPy's old names
        from tf_keras_vis.gradcam import Gradcam

    explain, peer = make_explainer(model, [layer], method="gradcam"), Gradcam(model, clone=False)
    side = images.shape[1]
    start = time.perf_counter()
    explain(images[:1], signs)
    print(f"\ncompiling ours: {time.perf_counter() - start:.1f} s", flush=True)

    def run_ours() -> int:
        maps = [upsample_map(heat, side, side) for by_layer in explain(images, signs) for heat in by_layer[layer]]
        return len(maps) // len(signs)

    def score(sign: int, output: Any) -> Any:
        return sign * output[:, 0]

    def run_peer() -> int:
        settings: dict[str, Any] = {"penultimate_layer": layer, "seek_penultimate_conv_layer": False}
        maps = [peer(partial(score, sign), images, normalize_cam=False, **settings) for sign in signs]
        return len(maps[0])

    return {"ours": run_ours, "tf-keras-vis": run_peer}


if __name__ == "__main__":
    main()
