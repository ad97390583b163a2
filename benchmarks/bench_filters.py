"""Pictures of filters beside tf-keras-vis: 64 filters of one layer of the plain network, at equal steps, float32.

tf-keras-vis climbs without its jitter and its regularizers, which take time; ours by both recipes. Both get all filters
in one call. Ours compiles anew at each call, and that counts.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest import Goal, divide, print_conditions, print_goals, print_rates, time_contenders
from cvd.stage import silence_tensorflow

if TYPE_CHECKING:
    import keras

ASKED, PEER = 5.0, "tf-keras-vis"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--side", type=int, default=96, help="of the pictures, px")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    silence_tensorflow()

    import keras

    from cvd.models.plain import build_plain

    keras.utils.set_random_seed(1)
    model = build_plain(size_px=150, dropout=0.0)
    contenders = make_ours(model, args) | {PEER: make_peer(model, args)}
    rates = time_contenders(contenders, repeats=args.repeats)
    data = f"{args.filters} filters of conv2, pictures of {args.side} px, {args.steps} steps"
    print_conditions("Filters", data=data, precision="float32")
    print_rates(rates, peers=[PEER], work="one picture is one filter")
    print_goals([Goal(f"filters, {name}, vs {PEER}", ASKED, divide(rates[name], rates[PEER])) for name in rates][:2])


def make_ours(model: "keras.Model", args: argparse.Namespace) -> dict[str, Callable[[], int]]:
    from cvd.vis.filters import RECIPES, ascend_filters

    def climb(recipe: str) -> int:
        ascent = ascend_filters(
            model,
            layer="conv2",
            filters=range(args.filters),
            size_px=args.side,
            steps=args.steps,
            seed=1,
            recipe=recipe,
        )
        return len(ascent.pictures)

    return {f"ours, {recipe}": partial(climb, recipe) for recipe in RECIPES}


def make_peer(model: "keras.Model", args: argparse.Namespace) -> Callable[[], int]:
    import keras
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party: it imports SciPy's old names
        from tf_keras_vis.activation_maximization import ActivationMaximization

    from cvd.vis.graphs import cut_filters

    cut = cut_filters(model, "conv2", size_px=args.side)
    peer = ActivationMaximization(keras.Model(cut.inputs[0], cut.outputs[1]), clone=False)
    seeds = np.random.default_rng(1).uniform(104, 152, (args.filters, args.side, args.side, 3)).astype(np.float32)

    def score(output: Any) -> Any:
        return tf.gather(tf.reduce_mean(output, axis=(1, 2)), tf.range(args.filters), axis=1, batch_dims=1)

    def run() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it passes a list where Keras expects a tensor
            return len(peer(score, seeds, steps=args.steps, input_modifiers=[], regularizers=[]))

    return run


if __name__ == "__main__":
    main()
