"""Dogs vs. Cats: what over-fitting is, what cures it, and what a convolutional network sees.

The functions that people import stand here, such as `cvd.explain_images`. Each loads its module when it is asked for.
"""

from importlib import import_module

TYPE_CHECKING = False  # typing's: its import would cost every start of Python in this environment 5 ms
if TYPE_CHECKING:
    from typing import Any

_PLACES = {
    "Augmentation": "cvd.data.augmentation.draws:Augmentation",
    "align_maps": "cvd.vis.explaining.geometry:align_maps",
    "ascend_filters": "cvd.vis.filters.ascent:ascend_filters",
    "augment_images": "cvd.data.augmentation.images:augment_images",
    "build_plain": "cvd.models.scratch.plain:build_plain",
    "decode_photo": "cvd.data.intake.photos:decode_photo",
    "draw_curves": "cvd.vis.charts.curves:draw_curves",
    "draw_picture": "cvd.data.drawn.picture:draw",
    "explain_images": "cvd.vis.explaining.methods:explain_images",
    "overlay_heat": "cvd.vis.sheets.overlays:overlay_heat",
    "read_runs": "cvd.commands.evidence.rows:read_runs",
    "resize_image": "cvd.data.images.pixels:resize_image",
    "tabulate_curves": "cvd.evaluation.overfitting:tabulate_curves",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> "Any":
    """Load a function of `__all__` from its module.

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in _PLACES:
        raise AttributeError(f"module 'cvd' has no attribute {name!r}: it has {', '.join(__all__)}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    """List what can be imported from here."""
    return [*globals(), *_PLACES]
