"""Bodies in five poses, in head radii about the head's centre; only the tail tells cat from dog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cvd.data.drawn.canvas import Canvas, Texture
from cvd.data.drawn.coat import Coat
from cvd.data.drawn.geometry import Frame, Points, add_fringe, bezier, ellipse, hull, mirror, smooth_closed, tube
from cvd.data.drawn.traits import Traits

# pose -> (share of choices, area in squared head radii, extent right, extent below)
POSES = {
    "sit_front": (0.22, 10.0, 1.6, 3.7),
    "sit_side": (0.22, 10.5, 2.2, 3.7),
    "stand": (0.16, 12.0, 4.0, 3.0),
    "lie": (0.2, 10.0, 3.8, 1.9),
    "close_up": (0.2, 7.0, 1.4, 1.6),
}


@dataclass(frozen=True)
class Figure:
    """What the painters of a body share."""

    canvas: Canvas
    frame: Frame
    coat: Coat
    traits: Traits
    girth: float  # 0.85 slim .. 1.2 stout
    rng: np.random.Generator

    def part(self, outline: Points, albedo: Texture | None = None, *, relief: float = 0.5, edge: float = 0.4) -> None:
        """Paint one furry part."""
        points = self.frame.apply(outline)
        furry = add_fringe(points, self.coat.fringe * self.frame.scale_px, self.rng)
        self.canvas.paint(furry, self.coat.body if albedo is None else albedo, relief=relief, edge=edge)

    def leg(self, top: tuple[float, float], foot: tuple[float, float], width: float, *, shade: float = 1.0) -> None:
        """Paint a leg and its paw; far ones are shaded."""
        path = np.linspace(top, foot, 8)
        radii = np.linspace(width * 1.25, width * 0.85, 8)
        self.part(tube(path, radii), self.coat.body.darken(shade), relief=0.45)
        self.paw((foot[0] - 0.08, foot[1] + 0.02), width, shade=shade)

    def paw(self, centre: tuple[float, float], width: float, *, shade: float = 1.0) -> None:
        """Paint a paw with its toes."""
        fur = self.coat.pale if self.coat.has_socks else self.coat.body
        self.part(ellipse(centre, (1.35 * width, 0.85 * width)), fur.darken(shade))
        unit = self.frame.scale_px
        for dx in (-0.45, 0.35):
            x, y = centre[0] + dx * width, centre[1]
            line = self.frame.apply([[x, y + 0.1 * width], [x - 0.03, y + 0.7 * width]])
            self.canvas.stroke(line, self.coat.dark, 0.035 * unit, opacity=0.5)

    def chest(self, centre: tuple[float, float], radii: tuple[float, float]) -> None:
        """Paint a pale bib where the coat has one."""
        if self.coat.has_pale_chest:
            points = self.frame.apply(ellipse(centre, radii))
            self.canvas.paint(points, self.coat.pale, relief=0.2, edge=0, soft_px=0.12 * self.frame.scale_px,
                              opacity=0.9, within=self.canvas.alpha)  # fmt: skip

    def tail(self, root: tuple[float, float], lean: float) -> None:
        """Paint the tail; lean is -1 for one that goes back along the ground, 1 for one held up."""
        kind, rng = self.traits.tail, self.rng
        x, y = root
        if kind == "slender":
            lift = lean * rng.uniform(0.9, 1.9)
            path = bezier([[x, y], [x + 0.9, y + 0.15], [x + rng.uniform(0.7, 1.5), y - lift],
                           [x + rng.uniform(0.1, 1.5), y - 1.35 * lift]])  # fmt: skip
            self.part(tube(path, np.linspace(0.19, 0.14, len(path))), relief=0.4)
            return
        up = abs(lean) * rng.uniform(0.5, 1.0) * (1.0 if rng.random() < 0.8 else -0.3)
        ends = {
            "stub": [[x, y], [x + 0.2, y - 0.1], [x + 0.3, y - 0.3 * up], [x + 0.42, y - 0.5 * up]],
            "sickle": [[x, y], [x + 0.7, y], [x + 1.0, y - 0.8 * up], [x + 0.9, y - 1.5 * up]],
            "plume": [[x, y], [x + 0.7, y], [x + 1.2, y - 0.7 * up], [x + 1.1, y - 1.5 * up]],
            "curl": [[x, y], [x + 1.1, y - 0.7], [x + 0.5, y - 1.6], [x - 0.2, y - 0.55]],
        }[kind]
        width = {"stub": (0.22, 0.16), "sickle": (0.26, 0.08), "plume": (0.24, 0.36), "curl": (0.28, 0.2)}[kind]
        path = bezier(ends)
        self.part(tube(path, np.linspace(*width, len(path))), relief=0.45)


def _sit_front(f: Figure) -> None:
    g = f.girth
    f.tail((0.9 * g, 3.2), f.rng.choice([-0.15, 0.6]))
    half = np.array([[0.0, 0.2], [0.62, 0.5], [0.98 * g, 1.5], [1.2 * g, 2.7], [0.95 * g, 3.4], [0.0, 3.5]])
    f.part(smooth_closed(mirror(half)))
    for side in (-1, 1):
        f.part(ellipse((side * 1.0 * g, 2.95), (0.52, 0.62)), relief=0.4)
        f.paw((side * 1.08 * g, 3.5), 0.3)
    f.chest((0, 1.35), (0.5, 0.8))
    for side in (-1, 1):
        f.leg((side * 0.38, 1.9), (side * 0.38, 3.45), 0.24)


def _sit_side(f: Figure) -> None:
    g = f.girth
    f.tail((1.85 * g, 3.2), f.rng.choice([-0.1, 0.7]))
    f.leg((0.25, 1.9), (0.15, 3.4), 0.23, shade=0.72)
    control = [[-0.55, 0.3], [-0.72, 1.3], [-0.5, 2.3], [-0.1, 3.2], [0.9 * g, 3.5], [1.9 * g, 3.4], [2.05 * g, 2.6],
               [1.4 * g, 1.4], [0.6, 0.4]]  # fmt: skip
    f.part(smooth_closed(control))
    f.chest((-0.35, 1.3), (0.35, 0.75))
    f.part(ellipse((1.15 * g, 2.8), (0.78, 0.7)), relief=0.45, edge=0.3)
    f.paw((0.75, 3.48), 0.3)
    f.leg((-0.25, 1.9), (-0.35, 3.45), 0.24)


def _stand(f: Figure) -> None:
    g, back = f.girth, 3.3
    f.tail((back + 0.45, 0.75), 0.8)
    for x in (0.95, back - 0.35):
        f.leg((x, 1.5), (x + f.rng.uniform(-0.35, 0.35), 2.85), 0.22, shade=0.7)
    neck = hull(ellipse((0, 0.1), (0.6, 0.6)), ellipse((0.7, 1.0), (0.7 * g, 0.72 * g)))
    control = [[0.0, 1.0], [0.5, 0.35], [1.8, 0.38], [back, 0.35], [back + 0.55, 0.95], [back + 0.2, 1.6 * g],
               [1.8, 1.7 * g], [0.5, 1.85 * g]]  # fmt: skip
    f.part(smooth_closed(control))
    f.part(ellipse((back - 0.05, 1.2), (0.62, 0.72)), relief=0.35, edge=0.15)
    f.part(neck, relief=0.35, edge=0.2)
    f.chest((0.3, 1.3), (0.35, 0.5))
    for x in (0.5, back + 0.1):
        f.leg((x, 1.5), (x + f.rng.uniform(-0.35, 0.35), 2.9), 0.25)


def _lie(f: Figure) -> None:
    g = f.girth
    f.tail((3.3, 1.45), f.rng.choice([-0.2, 0.3]))
    control = [[-0.3, 0.4], [-0.5, 1.2], [0.2, 1.72], [2.0, 1.8], [3.3, 1.75], [3.6, 1.1], [2.9, 0.75 - 0.4 * g],
               [1.5, 0.55 - 0.3 * g], [0.6, 0.2]]  # fmt: skip
    f.part(smooth_closed(control))
    f.part(ellipse((2.75, 1.15), (0.8, 0.64)), relief=0.45, edge=0.3)
    f.paw((2.1, 1.72), 0.28)
    f.chest((-0.1, 1.1), (0.4, 0.5))
    f.leg((0.7, 1.5), (-0.35, 1.75), 0.22, shade=0.8)
    f.leg((0.3, 1.45), (-0.95, 1.7), 0.24)


def _close_up(f: Figure) -> None:
    g = f.girth
    half = np.array([[0.0, 0.2], [0.62, 0.5], [0.95 * g, 1.2], [1.35 * g, 2.2], [1.5 * g, 5.0], [0.0, 5.2]])
    f.part(smooth_closed(mirror(half)))
    f.chest((0, 1.5), (0.55, 0.9))


_PAINTERS: dict[str, Callable[[Figure], None]] = {
    "sit_front": _sit_front, "sit_side": _sit_side, "stand": _stand, "lie": _lie, "close_up": _close_up,
}  # fmt: skip


def paint_body(figure: Figure, pose: str) -> None:
    """Paint everything but the head."""
    _PAINTERS[pose](figure)


def paint_collar(figure: Figure) -> None:
    """Paint a collar with a tag below the chin."""
    rng, unit = figure.rng, figure.frame.scale_px
    colour = np.clip(rng.choice([[0.8, 0.15, 0.15], [0.15, 0.3, 0.7], [0.1, 0.1, 0.1], [0.2, 0.55, 0.3],
                                 [0.85, 0.65, 0.15], [0.6, 0.25, 0.6]]), 0, 1)  # fmt: skip
    band = bezier([[-0.72, 0.6], [-0.4, 1.15], [0.4, 1.15], [0.72, 0.6]])
    figure.canvas.paint(figure.frame.apply(tube(band, 0.09)), colour, relief=0.4, edge=0.3)
    tag = figure.frame.apply(ellipse((0, 1.16), (0.13, 0.13), n=14))
    figure.canvas.paint(tag, (0.9, 0.78, 0.4), relief=0.6, edge=0.4)
    if unit > 25:
        spot = figure.frame.apply(ellipse((-0.04, 1.12), (0.04, 0.04), n=8))
        figure.canvas.paint(spot, (1, 1, 0.9), relief=0, edge=0)
