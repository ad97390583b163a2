"""Pictures of filters beside tf-keras-vis: 64 filters of one layer of the plain network, at equal steps, float32.

Like beside like: our plain recipe and tf-keras-vis bare, both climb and nothing else; our crisp recipe (rolled round,
frequencies and colours weighed) and tf-keras-vis as it comes (jitter, rotation, total variation, norm). All get all
filters in one call, each in a process of its own: ours with the threads of the filters stage, tf-keras-vis with
TensorFlow's. Ours compiles anew at each call, and that counts.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest import Goal, Turn, Work, divide, print_conditions, print_goals, print_rates, take_turns
from cvd.machine import threads
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.threads import count_cores

if TYPE_CHECKING:
    import keras

ASKED = 5.0
PAIRS = {"ours, plain": "tf-keras-vis, bare", "ours, crisp": "tf-keras-vis, as it comes"}
BARE: dict[str, Any] = {"input_modifiers": [], "regularizers": []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--side", type=int, default=96, help="of the pictures, px")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    start_tensorflow()
    works = [
        partial(climb_with_ours, args, "plain"),
        partial(climb_with_ours, args, "crisp"),
        partial(climb_with_peer, args, BARE),
        partial(climb_with_peer, args, {}),
    ]
    contenders: dict[str, Work] = dict(zip([*PAIRS, *PAIRS.values()], works, strict=True))
    turns = take_turns(contenders, rounds=1 + args.repeats)
    rates = {name: [turn["rate"] for turn in each[1:]] for name, each in turns.items()}
    data = f"{args.filters} filters of conv2, pictures of {args.side} px, {args.steps} steps"
    print_conditions("Filters", data=data, precision="float32")
    print_rates(rates, peers=list(PAIRS.values()), work="one picture is one filter")
    print_goals(
        [Goal(f"filters, {own}, vs {peer}", ASKED, divide(rates[own], rates[peer])) for own, peer in PAIRS.items()]
    )


def climb_with_ours(args: argparse.Namespace, recipe: str, turn: Turn) -> None:
    from cvd.vis.filters.ascent import MOST_AT_ONCE, ascend_filters

    at_once = min(count_cores(), MOST_AT_ONCE)
    threads.set_threads(1, across=at_once)

    model = build_network()

    def climb() -> int:
        ascent = ascend_filters(
            model,
            layer="conv2",
            filters=range(args.filters),
            size_px=args.side,
            steps=args.steps,
            seed=1,
            recipe=recipe,
            at_once=at_once,
        )
        return len(ascent.pictures)

    take_rounds(climb, args, turn)


def climb_with_peer(args: argparse.Namespace, settings: dict[str, Any], turn: Turn) -> None:
    import keras
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party: it imports SciPy's old names
        from tf_keras_vis.activation_maximization import ActivationMaximization

    from cvd.vis.explaining.graphs import cut_filters

    cut = cut_filters(build_network(), "conv2", size_px=args.side)
    peer = ActivationMaximization(keras.Model(cut.inputs[0], cut.outputs[1]), clone=False)
    seeds = np.random.default_rng(1).uniform(104, 152, (args.filters, args.side, args.side, 3)).astype(np.float32)

    def score(output: Any) -> Any:
        return tf.gather(tf.reduce_mean(output, axis=(1, 2)), tf.range(args.filters), axis=1, batch_dims=1)

    def climb() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it passes a list where Keras expects a tensor
            return len(peer(score, seeds, steps=args.steps, **settings))

    take_rounds(climb, args, turn)


def take_rounds(climb: Callable[[], int], args: argparse.Namespace, turn: Turn) -> None:
    """Climbs once in each turn, of which the first is not measured."""
    for _ in range(1 + args.repeats):
        turn.begin()
        start = time.perf_counter()
        n = climb()
        turn.end(rate=n / (time.perf_counter() - start))


def build_network() -> "keras.Model":
    import keras

    from cvd.models.scratch.plain import build_plain

    keras.utils.set_random_seed(1)
    return build_plain(size_px=150, dropout=0.0, width=32, depth=4)


if __name__ == "__main__":
    main()
