"""`cvd serve`: a page on this machine, for photos to be dropped on."""

import argparse
import contextlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cvd.commands.networks import N_CLASSES, list_variants, load_eyes, load_model, read_accuracy
from cvd.runtime.errors import InputError
from cvd.runtime.files import read_json
from cvd.runtime.project import find_root, read_classes
from cvd.runtime.startup import start_tensorflow
from cvd.runtime.vocabulary import Classes

if TYPE_CHECKING:
    import numpy as np

    from cvd.web.answers import Answer, Recognition


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd serve`."""
    parser.add_argument("--port", type=int, default=8000, help="%(default)s; 0 for any that is free")
    parser.add_argument("--host", default="127.0.0.1", help="%(default)s; another lets other machines in")


def serve_page(args: argparse.Namespace) -> int:
    """Load every variant once, then answer until Ctrl-C.

    Raises:
        InputError: the address cannot be had, or there is no model.
    """
    names = list_variants()
    if not names:
        raise InputError(f"no model in {find_root()}/models: run `dvc repro` or `dvc pull`")
    from cvd.web.server import format_address, is_loopback, open_socket, run_server

    opened, token = open_socket(args.host, args.port), ""
    with opened:
        if not is_loopback(args.host):
            warning = "other machines can reach this page, without password and encryption; Ctrl-C ends it"
            print(f"warning: --host {args.host}: {warning}", file=sys.stderr)
            token = os.environ.get("CVD_TOKEN") or secrets.token_urlsafe(24)
        classes = read_classes(find_root())
        askers, recognise = load_networks(names, classes), load_recogniser()
        from cvd.vis.charts.themes import DARK, LIGHT, choose_colours
        from cvd.web.answers import encode_photo, encode_scale
        from cvd.web.app import MAX_BYTES, create_app

        app = create_app(
            lambda photo: {
                "picture": encode_photo(photo),
                "size": f"{photo.shape[1]} × {photo.shape[0]} px",
                "answers": [ask(photo) for ask in askers.values()],
                "recognition": recognise(photo) if recognise else None,
            },
            hosts=["127.0.0.1", "localhost", "[::1]", args.host] if is_loopback(args.host) else None,
            token=token,
            classes=classes,
            variants=list(askers),
            accuracies={name: read_accuracy(name, "test") for name in askers},
            colours={"light": choose_colours(askers, LIGHT), "dark": choose_colours(askers, DARK)},
            scale=encode_scale(),
            note=note_source(find_root() / "data/raw.json", recognises=recognise is not None),
        )
        print(f"{format_address(opened)} is ready; Ctrl-C ends it", flush=True)
        if token and not os.environ.get("CVD_TOKEN"):
            print(f"programs at {format_address(opened)}api/ need the token {token}", flush=True)
        run_server(app, opened, max_bytes=2 * MAX_BYTES)  # the page says itself that a photo is a little too large
    return 0


def load_networks(names: list[str], classes: Classes) -> "dict[str, Callable[[np.ndarray], Answer]]":
    """Load networks and ask each once, so that the first photo is answered fast; leave out those that cannot be loaded.

    Raises:
        InputError: none can be loaded.
    """
    start_tensorflow()
    import numpy as np

    from cvd.web.answers import make_asker

    askers = {}
    for name in names:
        try:
            model = load_model(name)
            side_px, ask = model.input_shape[1], make_asker(name, model, classes)
            ask(np.zeros((side_px, side_px, 3), np.uint8))
            askers[name] = ask
            print(f"loaded {name}, {side_px} px", flush=True)
        except InputError as error:
            print(f"left out {name}: {error}", file=sys.stderr)
    if not askers:
        raise InputError("no variant can be shown: see above")
    return askers


def load_recogniser() -> "Callable[[np.ndarray], Recognition] | None":
    """Load what sees ImageNet's classes, and ask it once; None, and a line on stderr, where that cannot be."""
    import numpy as np

    from cvd.web.answers import make_recogniser

    try:
        if (eyes := load_eyes(only_last=True)) is None:
            return None
        backbone, size_px, viewer = eyes
        recognise = make_recogniser(backbone, size_px, viewer, top=N_CLASSES)
        recognise(np.zeros((size_px, size_px, 3), np.uint8))
    except InputError as error:
        print(f"left out ImageNet's classes: {error}", file=sys.stderr)
        return None
    print(f"loaded {backbone} with ImageNet's classes, {size_px} px", flush=True)
    return recognise


def note_source(record: Path, *, recognises: bool) -> str:
    """Say what people should know of networks that have seen drawings only; nothing of others."""
    with contextlib.suppress(InputError, OSError, KeyError, TypeError):
        if read_json(record)["source"] == "drawn":
            more = " The pretrained backbone, which sees ImageNet's classes, does." if recognises else ""
            return f"These networks were trained on drawn images. Of real photos they know nothing yet.{more}"
    return ""
