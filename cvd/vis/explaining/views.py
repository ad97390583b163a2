"""What a network says of images, and where it finds evidence for it: for pictures, pages and commands."""

from __future__ import annotations

from collections.abc import Sequence

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
        self.variant, self.size_px = variant, input_side(model)
        self.layers = chosen[-1:] if only_last else chosen
        self.caption = f"{METHODS[method].title}: where each network finds evidence for cat, and for dog"
        self._explainer = make_explainer(model, self.layers, method=method)

    def view(self, images: np.ndarray) -> list[View]:
        """View images (n, size_px, size_px, 3): each one's probability, and each layer's heat for cat and for dog."""
        signs = (-1, 1)
        logits, maps = self._explainer.explain(images, signs)
        rows = zip(compute_probabilities(logits)[:, 0], self._lay_maps(maps, signs, len(images)), strict=True)
        return [View(self.variant, float(probability), heats) for probability, heats in rows]

    def explain(self, images: np.ndarray, signs: Sequence[int | np.ndarray]) -> list[list[Heat]]:
        """Explain images (n, size_px, size_px, 3) for signs, each +1 (dog), -1 (cat) or (n,) of both.

        Gives for each image, of each layer, a heat for each sign, laid on the image.
        """
        return self._lay_maps(self._explainer(images, signs), signs, len(images))

    def _lay_maps(
        self, maps: Sequence[dict[str, np.ndarray]], signs: Sequence[int | np.ndarray], n_images: int
    ) -> list[list[Heat]]:
        model, unit = self._explainer.model, self._explainer.unit
        laid = [{name: align_maps(model, name, by_layer[name]) for name in self.layers} for by_layer in maps]
        labels = [[LABELS[int(sign > 0)] for sign in np.broadcast_to(signed, n_images)] for signed in signs]
        layers = list(zip(self.layers, name_depths(len(self.layers)), strict=True))
        return [
            [
                Heat(label[index], name, by_layer[name][index], unit, depth)
                for name, depth in layers
                for label, by_layer in zip(labels, laid, strict=True)
            ]
            for index in range(n_images)
        ]


class TopViewer:
    """Ask a network of many classes. Compiled at the first call: make it once for many.

    Args:
        model: maps images (n, h, w, 3), as it takes them, to (n, classes), logits or softmax.
        names: of the classes.
        top: how many of the most probable classes are explained, at least 1; all when there are fewer.

    Raises:
        InputError: the method is unknown, or the model has no convolution.
    """

    def __init__(self, model: keras.Model, names: Sequence[str], *, top: int, method: str) -> None:
        self._names, self._top = names, top
        self._layer = choose_layers(model, None, method=method)[-1]
        self.caption = METHODS[method].describe(self._layer)
        self._explainer, self._score = make_explainer(model, [self._layer], method=method), make_scorer(model)

    def view(self, image: np.ndarray) -> list[Heat]:
        """View one image (1, h, w, 3): the heat at the last convolution for its most probable classes, in order."""
        probabilities = compute_probabilities(self._score(image))[0]  # (classes,)
        classes = np.argsort(-probabilities, kind="stable")[: self._top]
        # The image once for each of its classes: (top, h, w, 3).
        (maps,) = self._explainer(np.repeat(image, len(classes), axis=0), class_index=classes)
        laid = align_maps(self._explainer.model, self._layer, maps[self._layer])
        rows = zip(classes, probabilities[classes], laid, strict=True)
        return [
            Heat(f"{self._names[number]} {share:.0%}", self._layer, heat, self._explainer.unit)
            for number, share, heat in rows
        ]
