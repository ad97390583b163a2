"""cvd.data.sources.fetch against a server that lies: wrong hashes and lengths, web pages, gzip; and full disks."""

import errno
import gzip
import hashlib
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import BinaryIO

import pytest
from fetch_client import CHUNKED, DATA, NO_LENGTH, OTHER, PAGE, SHA256, Client, frame, serve
from loopback import Step

from cvd.data.sources import fetch


def test_wrong_hash_and_wrong_size(client: Client) -> None:
    wrong = hashlib.sha256(OTHER).hexdigest()
    with serve(
        Step(cut=9, body=OTHER),
        Step(206, OTHER[9:], {"Content-Range": "bytes 9-299999/300000"}),
        always=Step(body=OTHER),
    ) as server:
        client.refuse(server, f"has sha256 {wrong}, not {SHA256}: .*nothing of it is kept", sha256=SHA256)
        assert client.kept == []
    with serve() as server:
        client.refuse(server, "has 300,000 bytes, not 300,001", n_bytes=300_001)
        assert client.kept == []
        client.refuse(server, "has 300,000 bytes, not 7", n_bytes=7)
    for headers in (NO_LENGTH, CHUNKED):
        body = frame(DATA) if headers == CHUNKED else DATA
        with serve(Step(body=body, headers=headers)) as server:
            client.refuse(server, "sends more than the 299,999 bytes", n_bytes=299_999)
        assert client.kept == []
    with serve(Step(headers=NO_LENGTH)) as server:  # short, and does not say so: it is asked for more
        client.refuse(server, "has 300,000 bytes, not 300,001", n_bytes=300_001)
    assert server.ranges == [None, "bytes=300000-"]


def test_lengths_that_lie(client: Client) -> None:
    """Too large: the rest is asked for. Too small: what is beyond it is not read, and the hash tells."""
    large = Step(headers={"Content-Length": "300001"}, ranges=False)
    with serve(always=large) as server:
        client.refuse(server, "cannot be fetched: the connection broke off, 4 times in a row")
    shutil.rmtree(client.folder)
    with serve(large) as server:  # the next reply tells the truth
        assert client.fetch(server, path="/a.zip?2") == DATA
    assert server.ranges == [None, "bytes=300000-"]
    with serve(Step(headers={"Content-Length": "299999"})) as server:
        client.refuse(server, f"has sha256 .*, not {SHA256}", sha256=SHA256, path="/a.zip?3")
    with serve(Step(headers={"Content-Length": "many"})) as server:
        assert client.fetch(server, path="/a.zip?4") == DATA


def test_a_body_without_end_is_cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", 100_000)
    with serve(Step(headers=NO_LENGTH)) as server:
        client.refuse(server, "sends more than the 100,000 bytes")
    with serve(Step(headers={"Content-Length": "300000"})) as server:
        assert client.fetch(server) == DATA  # a size that is told is judged by the free space


@pytest.mark.parametrize(
    "step",
    [
        Step(body=PAGE, headers={"Content-Type": "text/html; charset=utf-8"}),
        Step(body=PAGE),
        Step(body=b"\xef\xbb\xbf<?xml version='1.0'?><Error/>"),
        Step(body=gzip.compress(PAGE), headers={"Content-Type": "text/html", "Content-Encoding": "gzip"}),
    ],
)
def test_web_pages_are_no_archives(client: Client, step: Step) -> None:
    with serve(step) as server:
        client.refuse(server, "brings a web page", sha256=SHA256, n_bytes=len(DATA))
    assert client.kept == []
    assert len(server.requests) == 1


def test_an_archive_that_is_declared_as_a_page(client: Client) -> None:
    with serve(Step(headers={"Content-Type": "text/html"})) as server:
        assert client.fetch(server) == DATA


@pytest.mark.parametrize("sha256", [None, SHA256])
@pytest.mark.parametrize("headers", [{}, {"ETag": None}])
def test_gzip_that_nobody_asked_for_is_undone(client: Client, sha256: str | None, headers: dict[str, None]) -> None:
    body = gzip.compress(DATA)
    coded = Step(body=body, headers={"Content-Encoding": "gzip"} | headers)
    with serve(Step(body=body, cut=1000, headers=coded.headers), coded) as server:
        assert client.fetch(server, sha256=sha256, n_bytes=len(DATA)) == DATA
    assert server.ranges == [None, None]  # places in the packed bytes are nobody's promise


def test_gzip_that_is_the_file_itself(client: Client) -> None:
    """Apache's way with .tgz: the encoding is that of the file, and the hash that of the packed bytes."""
    body = gzip.compress(DATA)
    with serve(always=Step(body=body, headers={"Content-Encoding": "x-gzip"})) as server:
        assert client.fetch(server, sha256=hashlib.sha256(body).hexdigest()) == body
        assert client.fetch(server, sha256=SHA256) == DATA
    for body in (DATA, gzip.compress(DATA)[:-1000], gzip.compress(DATA) + b"more"):
        with serve(Step(body=body, headers={"Content-Encoding": "gzip"})) as server:
            assert client.fetch(server) in (body, DATA)


def test_gzip_bombs_do_not_go_off(client: Client) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with serve(Step(body=bomb, headers={"Content-Encoding": "gzip"})) as server:
        client.refuse(server, f"has {len(bomb):,} bytes, not 300,000", n_bytes=300_000, sha256=SHA256)
    assert client.kept == []


def test_no_room(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])(10**9, 10**9, 10**6)
    with monkeypatch.context() as patch, serve() as server:
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        client.refuse(server, f"has 0 MB to fetch, but {client.folder} has only 1 MB free: free some space")
    shutil.rmtree(client.folder)

    def write(self: object, file: BinaryIO, block: bytes) -> None:
        file.write(block[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.part")

    with serve() as server:
        with monkeypatch.context() as patch:
            patch.setattr(fetch._Download, "_write", write)
            with pytest.raises(OSError, match="No space left"):
                client.fetch(server)
        assert client.fetch(server) == DATA
    assert server.ranges == [None, "bytes=100-"]


def test_a_full_disk_is_named(client: Client) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        download = object.__new__(fetch._Download)
        download._partial = fetch.Partial(client.folder / "x.part", client.folder / "x.json")
        with pytest.raises(OSError, match=r"x\.part") as caught:
            download._write(full, b"data")
    assert caught.value.errno == errno.ENOSPC
