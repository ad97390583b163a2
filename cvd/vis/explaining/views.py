"""What a network says of images, and where it finds evidence for it: for pictures, pages and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from cvd.vis.explaining.geometry import Heat, View, align_maps, place_cells
from cvd.vis.explaining.graphs import compute_probabilities, input_side, make_scorer
from cvd.vis.explaining.heatmaps import HeatMaps, caption_pairs
from cvd.vis.explaining.methods import METHODS, choose_layers, make_explainer


class Viewer:
    """Ask a network of cats and dogs. Compiled at the first call: make it once for many.

    Args:
        model: maps images (n, size_px, size_px, 3), pixels 0..255, to logits (n, 1); positive means dog.
        layers: as for `choose_layers`.
        only_last: show the last of the layers only.
        answering: the network that is asked for the probability, where the explained one is a part of it.

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
        answering: keras.Model | None = None,
    ) -> None:
        chosen = choose_layers(model, layers, method=method)
        self.variant, self.size_px = variant, input_side(model)
        self.layers = chosen[-1:] if only_last else chosen
        self.caption = caption_pairs(METHODS[method].title)
        self._explainer = make_explainer(model, self.layers, method=method)
        self._answer = make_scorer(answering) if answering not in (None, model) else None

    def view(self, images: np.ndarray) -> list[View]:
        """View images (n, size_px, size_px, 3): each one's probability, and each layer's heat for cat and for dog."""
        names = [str(number) for number in range(len(images))]
        seen = self.explain(images, names, (-1, 1))
        return [seen.view(name) for name in names]

    def explain(self, images: np.ndarray, paths: Sequence[str], signs: Sequence[int]) -> HeatMaps:
        """Explain images (n, size_px, size_px, 3) of these paths by each layer, for signs: +1 dog, -1 cat."""
        logits, maps = self._explainer.explain(images, signs)
        if self._answer:
            logits = self._answer(images)
        columns = np.stack([np.broadcast_to(sign, len(images)) for sign in signs], axis=1)
        stacked = {name: np.stack([by_layer[name] for by_layer in maps], axis=1) for name in self.layers}
        return self._keep(paths, logits, columns, stacked)

    def explain_named(
        self,
        images: np.ndarray,
        paths: Sequence[str],
        known: tuple[np.ndarray, Mapping[str, np.ndarray]] | None = None,
    ) -> HeatMaps:
        """Explain images for the class that the network names of each; `known`: logits and maps that are there."""
        if known:
            logits, maps = known
        else:
            logits, (maps,) = self._explainer.explain(images, [None])
        signs = np.where(logits > 0, 1, -1)  # (n, 1)
        return self._keep(paths, logits, signs, {name: maps[name][:, None] for name in self.layers})

    def _keep(
        self, paths: Sequence[str], logits: np.ndarray, signs: np.ndarray, maps: Mapping[str, np.ndarray]
    ) -> HeatMaps:
        explainer, probabilities = self._explainer, compute_probabilities(logits)[:, 0]
        cells = {name: place_cells(explainer.model, name) for name in maps}
        words = self.variant, explainer.title, explainer.unit
        return HeatMaps(*words, list(paths), probabilities, signs.astype(np.int8), maps, cells)


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
