"""Grad-CAM beside tf-keras-vis: 100 images, the plain network and MobileNetV2, float32, random weights.

Both give maps at the image's size. "dog": one class at the last convolution. "dog and cat": both, as the sheets show
them, for which tf-keras-vis is called twice. Both are made once and warm; what compiling takes is printed.

Then all that the stage `explanations` computes of one network, compiling included: three methods, 30 images perturbed.
"method by method" is how it was done before: a pass and a curve for each method, each image's curves by themselves, new
networks and graphs for each randomisation, a distance transform for each hottest spot.
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
    parser.add_argument("--checked", type=int, default=600, help="images of the stage explanations")
    parser.add_argument("--repeats", type=int, default=5)
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
    plain, layer = build_networks(args.side)["plain"]
    rates = time_contenders(make_examiners(plain, layer, args.checked, args.side), repeats=max(1, args.repeats // 3))
    print_rates(rates, peers=["method by method"], work="plain, explanations")
    goals.append(Goal("Explanations of one network, vs method by method", 6.4, divide(*rates.values())))
    print_goals(goals)


def build_networks(side: int) -> "dict[str, tuple[keras.Model, str]]":
    """The networks, and the layer at which each is explained."""
    import keras

    from cvd.models.scratch.plain import build_plain

    keras.utils.set_random_seed(1)
    base = keras.applications.MobileNetV2(input_shape=(side, side, 3), weights=None, include_top=False)
    pooled = keras.layers.GlobalAveragePooling2D(name="features")(base.output)
    mobilenet = keras.Model(base.input, keras.layers.Dense(1, name="logit")(pooled), name="mobilenet")
    plain = build_plain(size_px=side, dropout=0.0)
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

    explain, peer = make_explainer(model, [layer]), Gradcam(model, clone=False)
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


def make_examiners(model: "keras.Model", layer: str, n_images: int, side: int) -> dict[str, Callable[[], int]]:
    """The stage's computation, now and as it was, of images with two masks each."""
    from cvd.vis.examining.figures import examine

    methods, n_perturbed = ("gradcam", "gradcam++", "hirescam"), min(30, n_images)
    images = np.random.default_rng(1).integers(0, 256, (n_images, side, side, 3), dtype=np.uint8)
    mask = np.hypot(*np.indices((200, 200)) - 100) < 60
    masks = [{"animal": mask, "head": mask & (np.arange(200) < 100)}] * n_images

    def run_now() -> int:
        examine(model, images, masks, methods=methods, layers=[layer], n_perturbed=n_perturbed, seed=1)
        return n_images

    def run_before() -> int:
        examine_by_method(model, layer, images, masks, methods=methods, n_perturbed=n_perturbed)
        return n_images

    return {"ours": run_now, "method by method": run_before}


def examine_by_method(
    model: "keras.Model",
    layer: str,
    images: np.ndarray,
    masks: list[dict[str, np.ndarray]],
    *,
    methods: tuple[str, ...],
    n_perturbed: int,
) -> None:
    """The stage's computation as it was."""
    import keras

    from cvd.vis.examining import checks
    from cvd.vis.explaining.geometry import align_maps
    from cvd.vis.explaining.graphs import compute_probabilities, make_scorer
    from cvd.vis.explaining.methods import make_explainer

    score, side = make_scorer(model), images.shape[1]
    signs = np.where(score(images)[:, 0] > 0, 1, -1)
    for method in (*methods, "chance"):
        if method in methods:
            maps = make_explainer(model, [layer], method=method)(images, [signs])[0][layer]
            copy = keras.models.clone_model(model)
            explain = make_explainer(copy, [layer], method=method)
            for _ in checks.randomise_from_top(copy, seed=1):
                others = explain(images[:n_perturbed], [signs[:n_perturbed]])[0][layer]
                checks.correlate_maps(maps[:n_perturbed], others)
        laid = align_maps(model, layer, maps)
        for heat, by_kind in zip(laid, masks, strict=True):
            locate_alone(heat, by_kind)
        for index in range(n_perturbed):
            order = checks.order_pixels(laid[index], side, side, rng=np.random.default_rng([1, index]))
            curves = [change(images[index], order) for change in (checks.delete_pixels, checks.insert_pixels)]
            compute_probabilities(score(np.concatenate(curves)))


def locate_alone(heat: np.ndarray, by_kind: dict[str, np.ndarray]) -> None:
    """One map beside its masks, as it was: its share, and twice its hottest spot."""
    import cv2

    from cvd.vis.examining import checks

    for mask in by_kind.values():
        checks.measure_shares(heat[None], [mask])
        for _ in ("close", "strict"):
            np.nonzero(heat == heat.max())
            cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


if __name__ == "__main__":
    main()
