"""The page as a web application: what it takes from whom, what it refuses, and in which words."""

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any
from urllib.parse import urlsplit

import numpy as np
from flask import Flask, Request, Response, render_template, request
from jinja2 import StrictUndefined
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, RequestEntityTooLarge, SecurityError

from cvd.data.archives.formats import RefusedError
from cvd.data.intake.photos import decode_photo
from cvd.runtime.errors import InputError
from cvd.runtime.vocabulary import add_article, pluralise
from cvd.web.api import add_api

MAX_BYTES = 20 * 2**20  # of a photo
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # no-referrer would take Origin from forms too
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FAULTS = {
    "empty": "The file is empty.",
    "not_an_image": "This is not a photo.",
    "unsupported": "This kind of picture is not read: convert it to JPEG or PNG.",
    "truncated": "A part of the photo is missing: perhaps its download broke off.",
    "damaged": "The photo is damaged.",
    "too_small": "The photo is too small: each side must have 16 pixels.",
    "too_large": "The photo has too many pixels: at most 50 million.",
}

Answer = Mapping[str, Any]  # what the template shows of a photo: `picture` and `answers`, as of cvd.web.answers


class MemoryRequest(Request):
    """Keep a request's file in memory; Werkzeug would write a large one to the disk."""

    # max_form_memory_size stays at Flask's own: a smaller one, below two of the parser's 64 kB, refuses good photos.
    max_form_parts = 4

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


def create_app(
    ask: Callable[[np.ndarray], Answer], *, hosts: Sequence[str] | None, token: str = "", **shown: Any
) -> Flask:
    """Make the application.

    Args:
        ask: maps a photo, (h, w, 3) uint8, to what is shown of it; one thread at a time calls it.
        hosts: names under which the page may be asked for; None: any.
        token: what programs must show; "": nothing.
        shown: what the page always shows: `classes`, `variants`, `accuracies`, `colours`, `scale`, `note`.
    """
    app = Flask(__name__, static_folder=None, template_folder=".")
    app.request_class = MemoryRequest
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters.update({"percent": format_percent, "plural": pluralise, "article": add_article})
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES + 2**16  # which a form adds to a photo
    lock = threading.Lock()

    def render(**more: Any) -> str:
        empty = {"name": "", "answer": None, "error": ""}
        return render_template("page.html", max_bytes=MAX_BYTES, **shown, **(empty | more))

    def answer_photo() -> str:
        name, data = take_photo()
        return render(name=name, answer=answer_bytes(data))

    def answer_bytes(data: bytes) -> Answer:
        with lock:  # two large photos at a time are more than some machines' memory
            return ask(decode_upload(data))

    app.add_url_rule("/", "page", render)
    app.add_url_rule("/", "answer", answer_photo, methods=["POST"])
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        app.add_url_rule(f"/{name}", name, lambda n=name, k=kind: Response(render_template(n, **shown), mimetype=k))
    add_api(app, answer_bytes, token=token, max_bytes=MAX_BYTES)
    app.before_request(lambda: refuse_strangers(hosts))
    app.after_request(add_headers)

    def refuse(error: HTTPException) -> Any:
        text = explain_error(error)
        return ({"error": text} if request.path.startswith("/api/") else render(error=text)), error.code

    app.register_error_handler(HTTPException, refuse)
    return app


def refuse_strangers(hosts: Sequence[str] | None) -> None:
    """Refuse other names than `hosts` (against DNS rebinding), and photos that another site sends by a browser.

    A browser says where a photo comes from; a program, which only the API serves, says nothing.
    """
    if hosts is not None and urlsplit(f"//{request.host}").hostname not in {host.strip("[]") for host in hosts}:
        raise SecurityError
    origin, here = request.headers.get("Origin"), f"{request.scheme}://{request.host}"
    is_program = origin is None and request.path.startswith("/api/") and "Sec-Fetch-Site" not in request.headers
    if request.method == "POST" and origin != here and not is_program:
        raise Forbidden("Photos are only taken from this page itself.")


def add_headers(response: Response) -> Response:
    """Add headers that forbid content from elsewhere, caching and frames."""
    response.headers.update(HEADERS)
    return response


def take_photo() -> tuple[str, bytes]:
    """Take the name and the bytes of the file that was sent; refuse it where there is none, or it is too large."""
    file = request.files.get("photo")
    if file is None or not file.filename:
        raise BadRequest("Choose a photo first.")
    data = file.read()
    if len(data) > MAX_BYTES:
        raise RequestEntityTooLarge
    return file.filename, data


def decode_upload(data: bytes) -> np.ndarray:
    """Decode a photo to pixels, (h, w, 3) uint8, or raise a BadRequest that says why not."""
    try:
        return decode_photo(data)
    except RefusedError as refusal:
        raise BadRequest(f"{_FAULTS.get(refusal.reason, 'The photo cannot be used.')} ({refusal.detail})") from refusal
    except InputError as error:
        raise BadRequest(f"The photo cannot be used: {error}.") from error


def explain_error(error: HTTPException) -> str:
    """Explain an error to the person at the page."""
    if isinstance(error, RequestEntityTooLarge):
        return f"The file is too large: at most {MAX_BYTES // 2**20} MB."
    if isinstance(error, SecurityError):
        return "This page answers only at its own address: the one that cvd serve has printed."
    if error.code == 404:
        return "There is nothing at this address."
    if error.code == 500:
        return "Something went wrong: the terminal in which cvd serve runs says what."
    return error.description or error.name


def format_percent(share: float) -> str:
    """Write a probability as 97.3%; never 0 or 100, which no network can know."""
    return "over 99.9%" if share > 0.999 else "under 0.1%" if share < 0.001 else f"{100 * share:.1f}%"
