"""Servers that never end: each single byte comes in time, and all of them never do."""

import itertools
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fetch_client import DATA, SHA256, Client, serve
from loopback import Step

from cvd.data.sources import patience as pace
from cvd.data.sources.fetch import Wanted, fetch_file
from cvd.data.sources.partials import UnfinishedError
from cvd.data.sources.patience import Patience
from cvd.runtime.errors import InputError

OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "headers": lambda: itertools.chain([OK], itertools.repeat(b"X-A: b\r\n")),
    "a header": lambda: itertools.chain([OK, b"X-A: "], itertools.repeat(b"b")),
    "100 Continue": lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": lambda: itertools.chain([OK, b"Content-Length: 99999\r\n\r\n"], itertools.repeat(b"b")),
    "chunks": lambda: itertools.chain([OK, b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"1\r\nb\r\n")),
    "a chunk's size": lambda: itertools.chain([OK, b"Transfer-Encoding: chunked\r\n\r\n1;"], itertools.repeat(b"a")),
}


@contextmanager
def drip(pieces: Iterable[bytes]) -> Iterator[str]:
    """Serve the same pieces to everyone, one every 20 ms."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(link: socket.socket) -> None:
            with link:
                link.recv(4096)
                try:
                    for piece in pieces:
                        link.sendall(piece)
                        time.sleep(0.02)
                except OSError:
                    return

        def serve() -> None:
            while True:
                try:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.zip"
        server.shutdown(socket.SHUT_RDWR)


def fetch(url: str, folder: Path, patience: Patience | None = None) -> None:
    with fetch_file(Wanted(url, "data.url it"), state_folder=folder, patience=patience):
        pass


@pytest.mark.parametrize("kind", DRIPS)
def test_what_never_ends_is_given_up(tmp_path: Path, kind: str) -> None:
    patience = Patience(3, connect_seconds=0.2, read_seconds=0.3, wait=lambda seconds: None)
    begin = time.monotonic()
    with drip(DRIPS[kind]()) as url, pytest.raises(UnfinishedError, match=r"cannot be fetched: .* times in a row"):
        fetch(url, tmp_path, patience)
    assert time.monotonic() - begin < 20


def test_the_usual_patience_ends_in_two_minutes() -> None:
    patience = Patience()
    longest = patience.connect_seconds + 2 * patience.read_seconds  # of the last try
    assert patience.idle_seconds + longest <= 130


def test_an_endless_body_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([2**40, 2**40, 2**40, 2**20])
    monkeypatch.setattr(pace.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": next(free)}))
    endless = itertools.chain([OK, b"\r\n"], itertools.repeat(b"b" * 1000))
    with (
        drip(endless) as url,
        pytest.raises(InputError, match=r"says no size, and .* nothing of it is kept"),
    ):
        fetch(url, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("n_more", [0, 1000])
def test_a_part_of_another_file_starts_again(client: Client, n_more: int) -> None:
    """The reply says that it goes on where it was asked to, and does not."""
    lie = Step(status=206, body=DATA[: 200_000 + n_more], headers={"Content-Range": "bytes 100000-299999/300000"})
    with serve(Step(cut=100_000), lie) as server:
        assert client.fetch(server, sha256=SHA256) == DATA
        assert server.ranges[0] is None
        assert server.ranges[-1] is None


def test_a_hundred_bytes_a_try_are_no_progress(tmp_path: Path) -> None:
    patience = Patience(3, wait=lambda seconds: time.sleep(0.15))
    with serve(always=Step(cut=100)) as server, pytest.raises(UnfinishedError, match="3 times in a row"):
        fetch(f"{server.url}/a.zip", tmp_path, patience)
