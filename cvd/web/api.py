"""The page's answers for programs: an image's bytes in, JSON out, and a page that says so."""

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, render_template, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, Unauthorized

PATH = "/api/predict"


def add_api(app: Flask, answer: Callable[[bytes], Mapping[str, Any]], *, token: str, max_bytes: int) -> None:
    """Let programs ask: `POST /api/predict`; `GET /api/` describes it.

    Args:
        app: the page's application.
        answer: maps a photo's bytes to what the page shows of it.
        token: what a program must send as `Authorization: Bearer TOKEN`; "": nothing.
        max_bytes: of a photo.
    """

    def predict() -> dict[str, Any]:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and not hmac.compare_digest(given.encode(), token.encode()):
            raise Unauthorized("Send the token that cvd serve printed: Authorization: Bearer TOKEN.")
        if request.mimetype.startswith("multipart/"):
            raise BadRequest("Send the photo's bytes as the body, not as a form: curl --data-binary @photo.jpg.")
        data = request.get_data(cache=False)
        if len(data) > max_bytes:
            raise RequestEntityTooLarge
        return describe(answer(data))

    def show() -> str:
        return render_template("api.html", address=request.host_url, has_token=bool(token), max_bytes=max_bytes)

    app.add_url_rule(PATH, "predict", predict, methods=["POST"])
    app.add_url_rule("/api/", "api", show)


def describe(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Take from what the page shows what a program can use: no pictures."""
    answers = [
        {
            "variant": answer.variant,
            "label": answer.label,
            "probability": answer.probability,  # of the second class
            "evidence": [
                {"label": view.label, "layer": view.layer, "largest": view.largest, "place": view.place}
                for view in answer.views
            ],
        }
        for answer in shown["answers"]
    ]
    if (seen := shown["recognition"]) is None:
        return {"answers": answers, "recognition": None}
    classes = [
        {"label": name, "probability": share, "place": view.place}
        for (name, share), view in zip(seen.classes, seen.views, strict=True)
    ]
    return {"answers": answers, "recognition": {"backbone": seen.backbone, "classes": classes}}
