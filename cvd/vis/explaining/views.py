"""What a network says of images, and where it finds evidence for it: for pictures, pages and commands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from cvd.runtime.errors import InputError
from cvd.vis.explaining.geometry import Heat, View, align_maps, place_cells
from cvd.vis.explaining.graphs import compute_probabilities, input_side, make_scorer
from cvd.vis.explaining.heatmaps import HeatMaps, caption_pairs
from cvd.vis.explaining.layers import name_depths
from cvd.vis.explaining.methods import METHODS, NOTES, choose_layers, make_explainer, put_answer_first, resolve_method


class Viewer:
    """Ask a network of two classes. Compiled at the first call: make it once for many.

    Args:
        model: maps images (n, size_px, size_px, 3), pixels 0..255, to logits (n, 1); positive means the second class.
        layers: as for `choose_layers`.
        only_last: show the last of the layers only.
        answering: the network that is asked for the probability, where the explained one is a part of it.
        labels: the two classes; a positive logit means the second.

    Raises:
        InputError: the method or a layer is unknown.
    """

    def __init__(
        self,
        variant: str,
        model: keras.Model,
        layers: Sequence[str] | None = None,
        *,
        method: str = "auto",
        only_last: bool = False,
        answering: keras.Model | None = None,
        labels: Sequence[str],
    ) -> None:
        chosen = choose_layers(model, layers, method=method)
        self.variant, self.size_px, self.labels = variant, input_side(model), labels
        self.layers = chosen[-1:] if only_last else chosen
        self.caption = caption_pairs(METHODS[resolve_method(method)].title, labels)
        self.note = NOTES[resolve_method(method)]
        self._explainer = make_explainer(model, self.layers, method=method)
        self._answer = make_scorer(answering) if answering not in (None, model) else None

    def view(self, images: np.ndarray) -> list[View]:
        """View images (n, size_px, size_px, 3): each one's probability, and each layer's heat for both classes."""
        names = [str(number) for number in range(len(images))]
        seen = self.explain(images, names, (-1, 1))
        return [seen.view(name) for name in names]

    def explain(self, images: np.ndarray, paths: Sequence[str], signs: Sequence[int]) -> HeatMaps:
        """Explain images (n, size_px, size_px, 3) of these paths by each layer, for signs: +1, -1."""
        logits, maps = self._explainer.explain(images, signs)
        if self._answer:
            logits = self._answer(images)
        columns = np.stack([np.broadcast_to(sign, len(images)) for sign in signs], axis=1)
        stacked = {name: np.stack([by_layer[name] for by_layer in maps], axis=1) for name in self.layers}
        return self._keep(paths, logits, columns, stacked)

    def explain_named(self, images: np.ndarray, paths: Sequence[str]) -> HeatMaps:
        """Explain images (n, size_px, size_px, 3) for the class that the network names of each, then for the other."""
        logits, by_sign = self._explainer.explain(images, (1, -1))
        pairs = {name: np.stack([maps[name] for maps in by_sign], axis=1) for name in self.layers}
        return self.keep_named(paths, logits, {name: put_answer_first(pair, logits) for name, pair in pairs.items()})

    def explain_most(
        self,
        images: Mapping[str, np.ndarray],
        some: Sequence[str],
        logits: np.ndarray,
        maps: Mapping[str, np.ndarray],
    ) -> HeatMaps:
        """Explain images by path as `explain_named` does: by maps that are there, of the first n; else some of them.

        `logits` (n, 1) and `maps` (n, 2, h', w') are of `Explainers.explain_answers`.
        """
        if set(self.layers) <= set(maps):
            return self.keep_named(list(images)[: len(logits)], logits, maps)
        return self.explain_named(np.stack([images[path] for path in some]), some)

    def keep_named(self, paths: Sequence[str], logits: np.ndarray, maps: Mapping[str, np.ndarray]) -> HeatMaps:
        """Keep logits and maps (n, 2, h', w') that are there, as of `Explainers.explain_answers`."""
        signs = np.where(logits > 0, 1, -1) * np.array([1, -1])  # (n, 2)
        return self._keep(paths, logits, signs, {name: maps[name] for name in self.layers})

    def _keep(
        self, paths: Sequence[str], logits: np.ndarray, signs: np.ndarray, maps: Mapping[str, np.ndarray]
    ) -> HeatMaps:
        explainer, probabilities = self._explainer, compute_probabilities(logits)[:, 0]
        cells = {name: place_cells(explainer.model, name) for name in maps}
        words = self.variant, explainer.title, explainer.unit, self.note, self.labels
        return HeatMaps(*words, list(paths), probabilities, signs.astype(np.int8), maps, cells)


class ClassViewer:
    """Ask a network of many classes. Compiled at the first call: make it once for many.

    Args:
        model: maps images (n, h, w, 3), as it takes them, to (n, classes), logits or softmax.
        names: of the classes.

    Raises:
        InputError: the method or a layer is unknown, or the model has no convolution.
    """

    def __init__(
        self, model: keras.Model, names: Sequence[str], layers: Sequence[str] | None = None, *, method: str
    ) -> None:
        self.names, self._layers = names, choose_layers(model, layers, method=method)
        self.title, self.note = METHODS[resolve_method(method)].title, NOTES[resolve_method(method)]
        self._explainer, self._score = make_explainer(model, self._layers, method=method), make_scorer(model)

    def rank(self, image: np.ndarray) -> list[tuple[int, float]]:
        """Rank the classes of one image (1, h, w, 3): number and probability, the most probable first."""
        probabilities = compute_probabilities(self._score(image))[0]  # (classes,)
        return [(int(number), float(probabilities[number])) for number in np.argsort(-probabilities, kind="stable")]

    def view(self, image: np.ndarray, *, top: int) -> list[Heat]:
        """View one image (1, h, w, 3): each layer's heat for its `top` classes, then what tells the first two apart."""
        ranked = self.rank(image)[:top]
        pair = (ranked[0][0], ranked[1][0]) if len(ranked) > 1 else None
        return self.explain(image, ranked, pair)

    def explain(
        self, image: np.ndarray, classes: Sequence[tuple[int, float]], pair: tuple[int, int] | None
    ) -> list[Heat]:
        """Explain one image (1, h, w, 3) by each layer: for classes, and for the difference of a pair's logits.

        Of the difference, one map has what speaks for the first class rather than the second, one the reverse.
        """
        labels = [f"{self.names[number]} {format_share(share)}" for number, share in classes]
        weights = [np.eye(len(self.names), dtype=np.float32)[number] for number, _ in classes]
        if pair:
            first, second = (self.names[number] for number in pair)
            labels += [f"{first}, not {second}", f"{second}, not {first}"]
            weights.append(np.subtract(*np.eye(len(self.names), dtype=np.float32)[list(pair)]))
        # The image once for each sum of logits: (m, h, w, 3).
        both = self._explainer(np.repeat(image, len(weights), axis=0), (1, -1), np.stack(weights))
        heats = []
        for layer, depth in zip(self._layers, name_depths(len(self._layers)), strict=True):
            maps, against = (by_layer[layer] for by_layer in both)
            maps = np.concatenate([maps, against[-1:]]) if pair else maps
            laid = align_maps(self._explainer.model, layer, maps)
            rows = zip(labels, laid, maps.sum(axis=(1, 2), dtype=np.float64), strict=True)
            heats += [
                Heat(name, layer, heat, self._explainer.unit, depth, float(total), number >= len(classes))
                for number, (name, heat, total) in enumerate(rows)
            ]
        return heats


def format_share(share: float) -> str:
    """Write a share in whole percent, but `<1%` for 0.004 and `>99%` for 0.998: neither is none or all."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def find_class(names: Sequence[str], asked: str) -> int:
    """Find a class by its number, its name, or a part that no other name has; upper and lower case are the same.

    Raises:
        InputError: there is none, or there are several.
    """
    if asked.isdecimal() and int(asked) < len(names):
        return int(asked)
    lower = [name.lower() for name in names]
    word = asked.lower().strip()
    hits = [number for number, name in enumerate(lower) if name == word]
    hits = hits or [number for number, name in enumerate(lower) if word and word in name]
    if len(hits) == 1:
        return hits[0]
    near = [names[number] for number in hits[:6]] or difflib.get_close_matches(asked, names, n=4, cutoff=0.5)
    advice = f"did you mean {', '.join(near)}?" if near else f"give a name, or a number below {len(names)}"
    raise InputError(f"class {asked!r} is {'several' if hits else 'none'} of the {len(names):,}: {advice}")
