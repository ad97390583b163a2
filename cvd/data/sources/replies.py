"""What a server's reply to a download says: which file, which part of it, or why not."""

import json
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import urlsplit

import requests
import urllib3

from cvd.data.sources.partials import UnfinishedError, Version
from cvd.runtime.errors import InputError, show_text

_MAX_PAUSE_SECONDS = 120  # that a server's Retry-After is granted
_MAX_MESSAGE = 200  # characters of a server's own words
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_CONTENT_RANGE_416 = re.compile(r"bytes \*/(\d+)")


WEB_PAGE = "brings a web page, no archive: fetch the file with a browser, and use data.source=archive"
NOT_KEPT = "it is not the file that was expected, and nothing of it is kept"


class PassingError(Exception):
    """A fault that may be gone at the next try; `pause_seconds`: not before."""

    def __init__(self, message: str, pause_seconds: float = 0) -> None:
        super().__init__(message)
        self.pause_seconds = pause_seconds


def strip_secrets(url: str) -> str:
    """Strip an address of user, password and the values of its query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?...' if parts.query else ''}"


def read_version(reply: requests.Response) -> Version:
    """Read the file's version from a reply to a request for all of it."""
    encoding = reply.headers.get("Content-Encoding", "").strip().lower()
    length = reply.headers.get("Content-Length", "")
    return Version(
        etag=reply.headers.get("ETag", ""),
        modified=reply.headers.get("Last-Modified", ""),
        n_bytes=int(length) if length.isdecimal() and "Transfer-Encoding" not in reply.headers else None,
        encoding="" if encoding == "identity" else encoding,
    )


def find_range_fault(reply: requests.Response, version: Version, offset: int) -> str:
    """Say why a 206 reply does not go on from byte `offset` of this version; "" when it does."""
    said = reply.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(said)
    if not match or int(match[1]) != offset:
        return f"the server was asked for the bytes from {offset:,} on, and sends {said[:60] or 'others'!r}"
    has_changed = version.n_bytes is not None and match[3] not in ("*", str(version.n_bytes))
    return "the file has changed on the server" if has_changed or not _is_same(reply, version) else ""


def is_whole(reply: requests.Response, version: Version, n_bytes: int) -> bool:
    """True when a 416 reply to a request for what follows means that nothing does."""
    match = _CONTENT_RANGE_416.fullmatch(reply.headers.get("Content-Range", ""))
    total = int(match[1]) if match else version.n_bytes
    return total == n_bytes and _is_same(reply, version)


def _is_same(reply: requests.Response, version: Version) -> bool:
    """True unless the reply names another version: a server need not repeat itself."""
    if version.etag and "ETag" in reply.headers:
        return reply.headers["ETag"] == version.etag
    return reply.headers.get("Last-Modified", version.modified) == version.modified


def is_web_page(reply: requests.Response, start: bytes) -> bool:
    """True when a reply brings a web page, by its first bytes, or by its header where they are compressed."""
    is_declared = reply.headers.get("Content-Type", "").lower().startswith("text/html")
    is_markup = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:9].lower().startswith(_MARKUP)
    return is_markup or (is_declared and "Content-Encoding" in reply.headers)


def refuse(
    reply: requests.Response, name: str, explain: Callable[[int, str], str], message: str | None = None
) -> NoReturn:
    """Raise the error of a reply that brings no file; `explain` as in `Wanted`; None: read the server's message.

    Raises:
        PassingError: the server is busy or broken.
        InputError: there is no such file.
        UnfinishedError: the server refuses.
    """
    status = reply.status_code
    answer = f"{status} {HTTPStatus(status).phrase if status in list(HTTPStatus) else ''}".strip()
    if status in (408, 425, 429) or status >= 500:
        raise PassingError(f"the server answers {answer}", _read_pause(reply))
    message = _read_message(reply) if message is None else message
    text = f"{name} cannot be fetched: the server answers {answer}{f' ({message})' if message else ''}"
    if status in (404, 410):
        raise InputError(f"{text}: {explain(status, message) or 'check the address'}")
    if status in (401, 403, 407):
        raise UnfinishedError(f"{text}: {explain(status, message) or 'see whether the address needs a login'}")
    raise UnfinishedError(f"{text}: {explain(status, message) or 'check the address, or try again later'}")


def _read_pause(reply: requests.Response) -> float:
    """Read Retry-After in seconds, given so or as a date (RFC 9110, 10.2.3)."""
    said = reply.headers.get("Retry-After", "").strip()
    try:
        pause = float(said) if said.isdecimal() else parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0
    return min(max(pause, 0), _MAX_PAUSE_SECONDS)


def find_message(body: bytes) -> str:
    """Find the `message` of a JSON reply, which Kaggle and many others give; "" where there is none."""
    try:
        said = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return show_text(str(said), _MAX_MESSAGE).rstrip(".")


def _read_message(reply: requests.Response) -> str:
    try:
        return find_message(reply.raw.read(4096, decode_content=True))
    except (ValueError, urllib3.exceptions.HTTPError):
        return ""


def judge_failure(error: Exception, name: str) -> Exception:
    """Say what a failed request means: a PassingError, or an InputError where waiting is no use."""
    if isinstance(error, requests.TooManyRedirects):
        return InputError(f"{name} cannot be fetched: the server sends from one address to the next without end")
    if isinstance(error, ValueError):  # requests' InvalidURL, InvalidSchema and the like
        return InputError(f"{name} cannot be fetched: it is, or leads to, no valid address of http or https")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UnfinishedError(f"{name} cannot be fetched: the server's certificate does not prove who it is")
    if isinstance(error, requests.ConnectTimeout):
        return PassingError("the server does not answer")
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return PassingError("nothing more came from the server")
    # The message of the error itself would quote the address, which may hold secrets, of a redirect above all.
    cause: BaseException | None = error
    words = "the connection broke off"
    while cause:
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, requests.RequestException):
            words = f"the connection failed ({cause.strerror})"
        cause = cause.__cause__ or cause.__context__
    return PassingError(words)
