"""A single channel of a layer, large, beside the image. Drawing only, no TensorFlow."""

from __future__ import annotations

import numpy as np

from cvd.vis.sheets.drawing import (
    FAINT,
    MARGIN,
    SMALL,
    TEXT,
    TITLE,
    Sheet,
    fit_picture,
    look_up_colours,
    resize_tile,
    shorten_text,
)

SIDE = 360  # longer side of the image and of the channel, px
SPACE = 20  # between them, px


def draw_channel(picture: np.ndarray, activations: np.ndarray, *, layer: str, channel: int, caption: str) -> np.ndarray:
    """One channel with its own numbers: not standardised, from its smallest to its largest activation.

    Args:
        picture: (h, w, 3), uint8, the image as the network gets it.
        activations: (h', w', k), of the layer.
        layer: its name.
        channel: which of the k.
        caption: variant and image.

    Returns:
        (H, W, 3), uint8.
    """
    values = np.asarray(activations[..., channel], np.float32)
    low, high = float(values.min()), float(values.max())
    is_dead = high - low <= 1e-6 * max(abs(low), abs(high))
    shown = fit_picture(picture, SIDE)
    height, width = shown.shape[:2]
    colours = look_up_colours("viridis")
    levels = np.zeros_like(values) if is_dead else (values - low) / (high - low)
    tile = resize_tile(colours[np.rint(levels * 255).astype(np.uint8)], height, width)
    top, right = 92, MARGIN + width + SPACE
    sheet = Sheet(top + height + 66, max(2 * MARGIN + 2 * width + SPACE, 560))
    room = sheet.pixels.shape[1] - 2 * MARGIN
    title = f"{layer}, channel {channel} of {activations.shape[-1]}"
    sheet.write(shorten_text(title, room, TITLE, bold=True), MARGIN, 20, size_px=TITLE, bold=True)
    sheet.write(shorten_text(caption, room, TEXT), MARGIN, 54, ink=FAINT)
    sheet.lay(shown, MARGIN, top)
    sheet.lay(tile, right, top)
    y = top + height + 10
    sheet.write(f"{values.shape[0]} × {values.shape[1]} values", MARGIN, y + 16, size_px=SMALL, ink=FAINT)
    if is_dead:
        sheet.write(f"dead here: {low:.3g} everywhere", right, y + 16, size_px=SMALL, ink=FAINT)
    else:
        sheet.lay(colours[np.tile(np.linspace(0, 255, width).astype(np.uint8), (12, 1))], right, y)
        sheet.write(f"{low:.3g}", right, y + 16, size_px=SMALL, ink=FAINT)
        sheet.write(f"{high:.3g}", right + width, y + 16, size_px=SMALL, ink=FAINT, anchor="ra")
    return sheet.pixels
