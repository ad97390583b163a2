"""What tells cats from dogs: ears, muzzle, eyes, whiskers, tail. All else is shared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RGB = tuple[float, float, float]
_CAT_IRISES = ((150, 176, 70), (112, 160, 84), (206, 176, 64), (196, 134, 48), (110, 168, 190), (170, 190, 110))
_DOG_IRISES = ((84, 52, 28), (60, 38, 24), (110, 68, 34), (44, 30, 24), (128, 88, 44), (126, 160, 180))
_DOG_IRIS_SHARES = (0.28, 0.25, 0.18, 0.15, 0.1, 0.04)


@dataclass(frozen=True)
class Traits:
    """One animal's features; lengths in head radii."""

    label: str
    ears: str  # pointed | floppy | long | erect | button
    ear_size: float
    ear_spread: float
    muzzle_length: float
    muzzle_width: float
    nose_size: float
    eye_size: float
    eye_spread: float
    eye_tilt_radians: float
    pupil_width: float  # share of the eye's width
    iris: RGB
    n_whiskers: int  # each side
    has_tongue: bool
    tail: str  # slender | stub | sickle | plume | curl
    jaw: float  # width of the lower face


def choose_traits(label: str, rng: np.random.Generator) -> Traits:
    """Draw the features of one cat or dog."""
    return _choose_cat(rng) if label == "cat" else _choose_dog(rng)


def _choose_cat(rng: np.random.Generator) -> Traits:
    iris = _CAT_IRISES[rng.integers(len(_CAT_IRISES))]
    return Traits(
        label="cat", ears="pointed", ear_size=rng.uniform(0.9, 1.25), ear_spread=rng.uniform(0.9, 1.1),
        muzzle_length=rng.uniform(0.0, 0.14), muzzle_width=rng.uniform(0.27, 0.35), nose_size=rng.uniform(0.1, 0.14),
        eye_size=rng.uniform(0.26, 0.33), eye_spread=rng.uniform(0.42, 0.49), eye_tilt_radians=rng.uniform(0.1, 0.35),
        pupil_width=float(rng.choice([rng.uniform(0.14, 0.3), rng.uniform(0.45, 0.8)], p=[0.7, 0.3])),
        iris=_scale(iris), n_whiskers=int(rng.integers(3, 6)), has_tongue=False, tail="slender",
        jaw=rng.uniform(0.92, 1.08),
    )  # fmt: skip


def _choose_dog(rng: np.random.Generator) -> Traits:
    iris = _DOG_IRISES[rng.choice(len(_DOG_IRISES), p=_DOG_IRIS_SHARES)]
    return Traits(
        label="dog", ears=str(rng.choice(["floppy", "long", "button", "erect"], p=[0.42, 0.28, 0.2, 0.1])),
        ear_size=rng.uniform(0.9, 1.25), ear_spread=rng.uniform(0.9, 1.1),
        muzzle_length=rng.uniform(0.4, 0.85), muzzle_width=rng.uniform(0.48, 0.62), nose_size=rng.uniform(0.25, 0.33),
        eye_size=rng.uniform(0.12, 0.16), eye_spread=rng.uniform(0.34, 0.42), eye_tilt_radians=rng.uniform(-0.15, 0.1),
        pupil_width=rng.uniform(0.55, 0.75), iris=_scale(iris), n_whiskers=0, has_tongue=bool(rng.random() < 0.4),
        tail=str(rng.choice(["stub", "sickle", "plume", "curl"], p=[0.15, 0.35, 0.3, 0.2])),
        jaw=rng.uniform(0.78, 0.95),
    )  # fmt: skip


def _scale(colour: tuple[int, int, int]) -> RGB:
    return colour[0] / 255, colour[1] / 255, colour[2] / 255
