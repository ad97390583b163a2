"""A server on the loopback interface that misbehaves as it is told, a step per request, and notes what it was asked."""

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Step:
    """How one request is answered; what is not given is as a good server does it.

    Attributes:
        status: instead of 200 or 206.
        body: instead of the file or the part that was asked for.
        headers: in addition, or instead; None leaves one out.
        cut: bytes of the body after which the connection is closed.
        stall: bytes of the body after which nothing more comes, and the connection stays.
        pace_seconds: rest after every 16 KiB.
        ranges: whether Range is heeded.
        if_range: whether If-Range is.
    """

    status: int | None = None
    body: bytes | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    pace_seconds: float = 0
    ranges: bool = True
    if_range: bool = True


GOOD = Step()


class Server:
    """Serves `files`, by path; `steps` are for the first requests, `always` is for the others."""

    def __init__(self, files: Mapping[str, bytes], *steps: Step, always: Step = GOOD) -> None:
        self.files, self.steps, self.always = dict(files), list(steps), always
        self.etag = '"one"'
        self.requests: list[tuple[str, Message]] = []
        self.bodies: list[bytes] = []  # of what was posted
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [headers["Range"] for _, headers in self.requests]

    def take_step(self) -> Step:
        return self.steps.pop(0) if self.steps else self.always

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        step = self.owner.take_step()
        self.owner.requests.append((self.path, self.headers))
        file = self.owner.files.get(urlsplit(self.path).path)
        if file is None and step.status is None:
            step = Step(404, b"nothing here")
        status, body, headers = self.answer(step, file or b"")
        status = step.status or status
        body = body if step.body is None else step.body
        headers |= {"Content-Length": str(len(body)), "Connection": "close"} | step.headers
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has had enough
            self.send(body, step)

    def answer(self, step: Step, file: bytes) -> tuple[int, bytes, dict[str, Any]]:
        headers: dict[str, Any] = {"ETag": self.owner.etag, "Content-Type": "application/zip"}
        asked = self.headers["Range"]
        condition = self.headers["If-Range"] if step.if_range else None
        if not asked or not step.ranges or condition not in (None, self.owner.etag):
            return 200, file, headers
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(file):
            return 416, b"", headers | {"Content-Range": f"bytes */{len(file)}"}
        return 206, file[start:], headers | {"Content-Range": f"bytes {start}-{len(file) - 1}/{len(file)}"}

    def send(self, body: bytes, step: Step) -> None:
        end = min(len(body) if each is None else each for each in (step.cut, step.stall))
        for start in range(0, end, 16384):
            self.wfile.write(body[start : min(start + 16384, end)])
            if step.pace_seconds:
                self.owner.released.wait(step.pace_seconds)
        if step.stall is not None:
            self.owner.released.wait(30)

    def do_POST(self) -> None:
        self.owner.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        pass
