"""A sheet of images on which one method's map contradicts the network, beside another's. No TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from cvd.vis.explaining.geometry import View
from cvd.vis.explaining.heatmaps import HeatMaps
from cvd.vis.sheets.drawing import FAINT, MARGIN, SMALL, WRONG, Sheet, fit_picture
from cvd.vis.sheets.overlays import SPACE, TILE, describe_hottest, find_hottest, find_ink, lay_bar, overlay_heat

TITLE = "When a heat map contradicts its network"


def choose_contradictions(maps: HeatMaps, n: int, *, among: Collection[str]) -> list[str]:
    """Choose up to `n` images whose answer the maps contradict most: both classes in turn, as the network names them.

    Where no map contradicts, choose the images with the least evidence for the answer beside that against it. Only
    paths in `among` are chosen.
    """
    totals = maps.sum_last()  # (n, 2): for the answer, against it
    shares = totals[:, 0] / np.maximum(totals.sum(axis=1), np.finfo(np.float32).tiny)
    order = [k for k in np.argsort(shares, kind="stable") if maps.paths[k] in among]
    by_class = [[maps.paths[k] for k in order if (maps.signs[k, 0] > 0) == is_second] for is_second in (False, True)]
    longest = max(len(paths) for paths in by_class)
    return [paths[turn] for turn in range(longest) for paths in by_class if turn < len(paths)][:n]


def describe_contradictions(maps: HeatMaps) -> str:
    """Say in how many images the maps hold more evidence against the network's answer than for it."""
    totals = maps.sum_last()
    n_all, n_against = len(totals), int((totals[:, 1] > totals[:, 0]).sum())
    return f"{maps.title}: {n_against} of {n_all} ({n_against / max(1, n_all):.0%})"


def draw_contradictions(
    rivals: Mapping[str, Sequence[HeatMaps]], load: Callable[[str], np.ndarray], *, n: int
) -> np.ndarray:
    """Draw for each network the images that its first maps contradict most, beside its other maps: (H, W, 3), uint8.

    Args:
        rivals: of each network its maps by two methods, each with what the network says first and the other class then.
            Where both are by one method, the second are left out.
        load: a path -> the image, (h, w, 3), uint8.
        n: images of each network.
    """
    rivals = {name: list({maps.title: maps for maps in rows}.values()) for name, rows in rivals.items()}
    # A slow method has maps of some of the images only.
    both = {name: set.intersection(*(set(maps.paths) for maps in rows)) for name, rows in rivals.items()}
    chosen = {name: choose_contradictions(rows[0], n, among=both[name]) for name, rows in rivals.items()}
    pitch, step, top, head = TILE + 64, TILE + SPACE, 106, 58
    width = 2 * MARGIN + (1 + 2 * max(map(len, rivals.values()))) * step - SPACE
    height = sum(head + len(paths) * pitch for paths in chosen.values())
    sheet, y = Sheet(top + height + 40 + MARGIN, width), top
    sheet.write_header(TITLE, "A map's sum is its evidence: a faithful method has more of it for what the network says")
    shown = []
    for variant, rows in rivals.items():
        sheet.rule(MARGIN, y - 8, width - 2 * MARGIN)
        sheet.write(variant, MARGIN, y, bold=True, ink=find_ink(variant), room=TILE)
        counts = "   ·   ".join(describe_contradictions(maps) for maps in rows)
        sheet.write(f"maps that contradict:   {counts}", MARGIN + step, y)
        for number, path in enumerate(chosen[variant]):
            views = [maps.view(path) for maps in rows]
            shown += [heat for view in views for heat in view.heats]
            _lay_case(sheet, path, load(path), views, y + head + number * pitch)
        y += head + len(chosen[variant]) * pitch
    lay_bar(sheet, MARGIN + step, y, 2 * step - SPACE, high=describe_hottest(shown, "each pair"), overlaid=True)
    return sheet.pixels


def _lay_case(sheet: Sheet, path: str, image: np.ndarray, views: Sequence[View], y: int) -> None:
    """Lay an image, what the network says of it, and its maps by each method, which share a scale of their own."""
    small, step = fit_picture(image, TILE), TILE + SPACE
    height, x = small.shape[0], MARGIN
    sheet.lay(small, x, y)
    sheet.write(" · ".join(reversed(views[0].lines)), x, y + height + 5, size_px=SMALL, bold=True, room=TILE)
    sheet.write(path.rsplit("/", 1)[-1], x, y + height + 22, size_px=SMALL, ink=FAINT, room=TILE)
    for view in views:
        for heat in sorted(view.heats, key=lambda heat: view.labels.index(heat.label)):
            x += step
            sheet.write(f"{view.method} for {heat.label}", x, y - 20, size_px=SMALL, bold=True, room=TILE)
            sheet.lay(overlay_heat(small, heat.map, largest=find_hottest(view.find_pair(heat))), x, y)
            sheet.write(f"sum {heat.total:.3g} {heat.unit}", x, y + height + 5, size_px=SMALL, ink=FAINT, room=TILE)
            if view.is_contradicted(heat):
                sheet.write("contradicts", x, y + height + 22, size_px=SMALL, bold=True, ink=WRONG)
