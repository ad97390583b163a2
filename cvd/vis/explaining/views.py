"""What a network says of images, and where it finds evidence for it: for pictures, pages and commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from cvd.runtime.vocabulary import LABELS
from cvd.vis.explaining.geometry import Heat, View, align_maps
from cvd.vis.explaining.graphs import compute_probabilities, input_side, make_scorer
from cvd.vis.explaining.layers import name_depths
from cvd.vis.explaining.methods import METHODS, choose_layers, make_explainer


class Viewer:
    """Ask a network of cats and dogs. Compiled at the first call: make it once for many.

    Args:
        model: maps images (n, size_px, size_px, 3), pixels 0..255, to logits (n, 1); positive means dog.
        layers: as for `choose_layers`.
        only_last: show the last of the layers only.

    Raises:
        InputError: the method or a layer is unknown.
    """

    def __init__(
        self,
        variant: str,
        model: keras.Model,
        layers: Sequence[str] | None = None,
        *,
        method: str = "gradcam",
        only_last: bool = False,
    ) -> None:
        chosen = choose_layers(model, layers, method=method)
        self.variant, self.layers, self.size_px = variant, chosen[-only_last:], input_side(model)
        self.caption = f"{METHODS[method].title}: where each network finds evidence for cat, and for dog"
        self._model, self._unit = model, METHODS[method].unit
        self._explain, self._score = make_explainer(model, self.layers, method=method), make_scorer(model)

    def view(self, images: np.ndarray) -> list[View]:
        """View images (n, size_px, size_px, 3): each one's probability, and each layer's heat for cat and for dog."""
        probabilities = compute_probabilities(self._score(images))[:, 0]
        heats = self.explain(images, (-1, 1))
        return [View(self.variant, float(probabilities[i]), heats[i]) for i in range(len(images))]

    def explain(self, images: np.ndarray, signs: Sequence[int | np.ndarray]) -> list[list[Heat]]:
        """Explain images (n, size_px, size_px, 3) for signs, each +1 (dog), -1 (cat) or (n,) of both.

        Gives for each image, of each layer, a heat for each sign, laid on the image.
        """
        maps = self._explain(images, signs)
        laid = [{name: align_maps(self._model, name, by_layer[name]) for name in self.layers} for by_layer in maps]
        labels = [[LABELS[int(sign > 0)] for sign in np.broadcast_to(signed, len(images))] for signed in signs]
        layers = list(zip(self.layers, name_depths(len(self.layers)), strict=True))
        return [
            [
                Heat(label[index], name, by_layer[name][index], self._unit, depth)
                for name, depth in layers
                for label, by_layer in zip(labels, laid, strict=True)
            ]
            for index in range(len(images))
        ]


def make_top_viewer(
    model: keras.Model, names: Sequence[str], *, top: int, method: str
) -> Callable[[np.ndarray], list[Heat]]:
    """Make a function from one image (1, h, w, 3) to heat at the last convolution for its most probable classes."""
    layer = choose_layers(model, None, method=method)[-1]
    score, explain, unit = make_scorer(model), make_explainer(model, [layer], method=method), METHODS[method].unit

    def view(image: np.ndarray) -> list[Heat]:
        probabilities = compute_probabilities(score(image))[0]  # (classes,)
        classes = np.argsort(-probabilities, kind="stable")[:top]
        # The image once for each of its classes: (top, h, w, 3).
        (maps,) = explain(np.repeat(image, len(classes), axis=0), class_index=classes)
        rows = zip(classes, probabilities[classes], align_maps(model, layer, maps[layer]), strict=True)
        return [Heat(f"{names[number]} {share:.0%}", layer, heat, unit) for number, share, heat in rows]

    return view
