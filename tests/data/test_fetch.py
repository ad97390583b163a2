"""cvd.data.fetch against a server that breaks off, stalls, lies, refuses, and changes its mind."""

import errno
import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections import namedtuple
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from loopback import GOOD, Server, Step
from requests.auth import HTTPBasicAuth

from cvd.data import fetch
from cvd.data.fetch import Patience, Wanted, fetch_file
from cvd.data.partials import UnfinishedError
from cvd.data.replies import strip_secrets
from cvd.errors import InputError

ROOT = Path(__file__).parents[2]
DATA = np.random.default_rng(1).bytes(300_000)
OTHER = np.random.default_rng(2).bytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PAGE = b"\n <!DOCTYPE html><html><body>Please sign in</body></html>"


class Client:
    """Fetches into a folder of its own and notes the pauses, which it does not make."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pauses: list[float] = []

    def fetch(self, server: Server, *, path: str = "/a.zip", tries: int = 4, **options: Any) -> bytes:
        patience = Patience(tries, read_seconds=0.2, wait=self.pauses.append)
        wanted = Wanted(server.url + path, "data.url it", **options)
        with fetch_file(wanted, state_folder=self.folder, patience=patience) as file:
            data = file.path.read_bytes()
            assert (file.sha256, file.n_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert not self.kept
        return data

    def refuse(self, server: Server, match: str, **options: Any) -> InputError:
        with pytest.raises(InputError, match=match) as caught:
            self.fetch(server, **options)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("data.url it ")
        return caught.value

    @property
    def kept(self) -> list[str]:
        return sorted(path.suffix for path in self.folder.iterdir())


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "downloads")


def serve(*steps: Step, always: Step = GOOD, data: bytes = DATA) -> Server:
    return Server({"/a.zip": data}, *steps, always=always)


def frame(data: bytes) -> bytes:
    """A body in chunks, as Transfer-Encoding has them."""
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


CHUNKED = {"Content-Length": None, "Transfer-Encoding": "chunked"}
NO_LENGTH = {"Content-Length": None}


@pytest.mark.parametrize("headers", [{}, NO_LENGTH, {"ETag": None}, {"Content-Encoding": "identity"}])
def test_a_good_server(client: Client, headers: dict[str, str | None]) -> None:
    with serve(Step(headers=headers)) as server:
        assert client.fetch(server, sha256=SHA256, n_bytes=len(DATA)) == DATA
    assert [asked["Accept-Encoding"] for _, asked in server.requests] == ["identity"]
    assert client.pauses == []


def test_chunks_and_nothing_at_all(client: Client) -> None:
    with serve(Step(body=frame(DATA), headers=CHUNKED), Step(body=b""), Step(body=b"", headers=NO_LENGTH)) as server:
        assert client.fetch(server) == DATA
        assert client.fetch(server) == b""
        assert client.fetch(server) == b""


@pytest.mark.parametrize(
    "broken",
    [
        Step(cut=100_000),
        Step(stall=100_000),
        Step(cut=100_000, headers={"ETag": None, "Last-Modified": formatdate(0, usegmt=True)}),
        Step(cut=100_000, headers={"ETag": 'W/"one"', "Last-Modified": formatdate(0, usegmt=True)}),
        Step(cut=100_000, headers={"ETag": None}),  # then the hash decides
        Step(cut=100_009, body=frame(DATA), headers=CHUNKED),  # 9: the line with the size, and a little more
    ],
)
def test_what_breaks_off_or_stalls_is_resumed(client: Client, broken: Step) -> None:
    good = Step(headers={"ETag": None} if broken.headers.get("ETag", "") != "" else {}, if_range=False)
    with serve(broken, good) as server:
        assert client.fetch(server, sha256=SHA256) == DATA
    assert server.ranges[0] is None
    start = int((server.ranges[1] or "").removeprefix("bytes=").removesuffix("-"))
    assert 99_990 <= start <= 100_009
    expected = broken.headers.get("Last-Modified", None if "ETag" in broken.headers else '"one"')
    assert server.requests[1][1]["If-Range"] == expected
    assert len(client.pauses) == 1


def test_every_byte_counts_as_progress(client: Client) -> None:
    with serve(*(Step(cut=20_000) for _ in range(14))) as server:
        assert client.fetch(server, tries=2) == DATA
    assert server.ranges == [None, *(f"bytes={20_000 * n}-" for n in range(1, 15))]
    assert all(0.5 <= pause <= 1 for pause in client.pauses)


def test_parts_that_are_smaller_than_asked_for(client: Client) -> None:
    part = Step(206, DATA[100_000:150_000], {"Content-Range": f"bytes 100000-149999/{len(DATA)}"})
    with serve(Step(cut=100_000), part) as server:
        assert client.fetch(server) == DATA
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


@pytest.mark.parametrize("second", [Step(ranges=False), Step(ranges=False, body=frame(DATA), headers=CHUNKED)])
def test_a_server_without_ranges_starts_anew(client: Client, second: Step) -> None:
    with serve(Step(cut=100_000), second) as server:
        assert client.fetch(server) == DATA


def test_a_changed_file_is_fetched_from_the_start(client: Client) -> None:
    for heeds in (True, False):  # one that heeds If-Range sends all, another sends the rest with its new ETag
        with serve(Step(cut=100_000), Step(if_range=heeds)) as server:
            client.pauses.clear()
            wait = client.pauses.append

            def change(pause: float, server: Server = server, wait: Callable[[float], None] = wait) -> None:
                wait(pause)
                server.etag, server.files = '"two"', {"/a.zip": OTHER}

            wanted = Wanted(server.url + "/a.zip", "it")
            with fetch_file(wanted, state_folder=client.folder, patience=Patience(wait=change)) as file:
                assert file.path.read_bytes() == OTHER
        assert len(server.requests) == 2 + (not heeds)


@pytest.mark.parametrize(
    "header",
    ["bytes 0-299999/300000", "bytes 100001-299999/300000", "bytes 100000-299999/300001", "items 100000-1/2", None],
)
def test_a_wrong_content_range_is_not_believed(client: Client, header: str | None) -> None:
    wrong = Step(206, OTHER[:200_000], {"Content-Range": header})
    with serve(Step(cut=100_000), wrong) as server:
        assert client.fetch(server) == DATA
    assert server.ranges == [None, "bytes=100000-", None]
    with serve(always=wrong) as server:
        client.refuse(server, "answers 206 Partial Content")


def test_nothing_more_to_come(client: Client) -> None:
    """All was here, but the process ended before it was of use; or the server's file has shrunk."""
    with serve() as server:
        wanted = Wanted(server.url + "/a.zip", "it", SHA256)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt), fetch_file(wanted, state_folder=client.folder):
                raise KeyboardInterrupt
        assert server.ranges == [None, f"bytes={len(DATA)}-"]
        server.files["/a.zip"] = DATA[:200_000]
        client.refuse(server, f"has sha256 .*, not {SHA256}", sha256=SHA256)
        assert server.ranges[2:] == [f"bytes={len(DATA)}-", None]
    assert client.kept == []


@pytest.mark.parametrize(("status", "is_kept"), [(401, True), (403, True), (404, False), (410, False), (451, True)])
def test_refusals_are_final(client: Client, status: int, is_kept: bool) -> None:
    with serve(Step(status, b'{"code": 1, "message": "Not\\nfor you."}')) as server:
        error = client.refuse(server, rf"the server answers {status} [A-Z].* \(Not for you\): ")
        assert isinstance(error, UnfinishedError) == is_kept
    assert len(server.requests) == 1
    assert client.pauses == []
    advice = Wanted("", "", explain=lambda status, message: f"{status} and {message}").explain
    with serve(Step(403, b'{"message": "rules"}')) as server:
        client.refuse(server, "403 and rules$", explain=advice)


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"message": 3}', b"\xff", b"{" * 5000, b"[" * 5000])
def test_odd_words_of_refusal(client: Client, body: bytes) -> None:
    with serve(Step(403, body)) as server:
        client.refuse(server, "answers 403 Forbidden")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_busy_servers_are_tried_again(client: Client, status: int) -> None:
    with serve(Step(status), Step(status), Step(cut=50_000), Step(status)) as server:
        assert client.fetch(server) == DATA
    assert len(server.requests) == 5
    for pause, base in zip(client.pauses, (1, 2, 1, 2), strict=True):
        assert base / 2 <= pause <= base


def test_tries_are_bounded_and_what_came_is_kept(client: Client) -> None:
    with serve(Step(cut=100_000), always=Step(503)) as server:
        error = client.refuse(
            server, r"503 Service Unavailable, 5 times in a row; the 0.1 MB .* are kept: run again", tries=5
        )
        assert isinstance(error, UnfinishedError)
        assert client.kept == [".json", ".part"]
        assert len(server.requests) == 5
        server.always = GOOD
        assert client.fetch(server) == DATA
        assert server.ranges[-1] == "bytes=100000-"
    with serve(always=Step(503)) as server:
        client.pauses.clear()
        client.refuse(server, "12 times in a row", tries=12)
    assert max(client.pauses) <= 60


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("7", 7, 7), ("100000", 120, 120), (formatdate(0, usegmt=True), 0.5, 1), ("soon", 0.5, 1), ("-5", 0.5, 1)],
)
def test_retry_after(client: Client, header: str, low: float, high: float) -> None:
    with serve(Step(429, headers={"Retry-After": header})) as server:
        assert client.fetch(server) == DATA
    assert low <= client.pauses[0] <= high


def test_no_server(client: Client) -> None:
    with serve() as server:
        pass
    client.refuse(server, r"the connection failed \(Connection refused\), 4 times in a row; try again later")
    with serve() as server:
        pass
    wanted = Wanted("http://no-such-host.invalid/a.zip?key=hush", "data.url it")
    with (
        pytest.raises(UnfinishedError, match=r"the connection failed|the server answers") as caught,
        fetch_file(wanted, state_folder=client.folder, patience=Patience(2, wait=client.pauses.append)),
    ):
        pass
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/a", "http://[/", "//\x7f:x", "file:///etc/passwd"])
def test_redirects_to_nowhere(client: Client, target: str) -> None:
    with serve(Step(302, headers={"Location": target})) as server:
        client.refuse(server, "no valid address")


def test_redirects_without_end(client: Client) -> None:
    with serve(always=Step(302, headers={"Location": "/a.zip"})) as server:
        client.refuse(server, "from one address to the next")


def test_redirects_get_no_credentials_and_leave_no_trace(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(Step(cut=100_000), Step(cut=50_000), Step(503)) as store, serve() as front:
        front.always = Step(302, headers={"Location": f"{store.url}/a.zip?X-Signature=hush"})
        auth = HTTPBasicAuth("me", "secret")
        with (
            pytest.raises(UnfinishedError) as caught,
            fetch_file(
                Wanted(front.url.replace("//", "//you:secret@") + "/a.zip?token=secret", "it", auth=auth),
                state_folder=client.folder,
                patience=Patience(1),
            ),
        ):
            pass
        kept = b"".join(path.read_bytes() for path in client.folder.glob("*.json"))
        shutil.rmtree(client.folder)
        assert json.loads(kept)["address"] == f"{front.url}/a.zip?..."
        assert client.fetch(front, auth=auth) == DATA
    assert {headers["Authorization"] for _, headers in front.requests} == {"Basic bWU6c2VjcmV0"}
    assert {headers["Authorization"] for _, headers in store.requests} == {None}
    assert store.ranges == [None, None, "bytes=50000-", "bytes=50000-"]
    assert {path for path, _ in store.requests} == {"/a.zip?X-Signature=hush"}
    for text in (str(caught.value), kept.decode(), *capsys.readouterr()):
        assert "secret" not in text
        assert "hush" not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host:8080/a%20b.zip?sig=hush#frag", "https://host:8080/a%20b.zip?..."),
        ("http://host", "http://host"),
        ("http://a@b@host/x", "http://host/x"),
    ],
)
def test_addresses_without_secrets(url: str, shown: str) -> None:
    assert strip_secrets(url) == shown


def test_wrong_hash_and_wrong_size(client: Client) -> None:
    wrong = hashlib.sha256(OTHER).hexdigest()
    with serve(Step(cut=9, body=OTHER), Step(206, OTHER[9:], {"Content-Range": "bytes 9-299999/300000"})) as server:
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


def test_two_addresses_and_damaged_notes(client: Client) -> None:
    with Server({"/a": DATA, "/b": OTHER}, Step(cut=100_000), Step(cut=50_000)) as server:
        for path in ("/a", "/b"):
            client.refuse(server, "broke|failed", path=path, tries=1)
        assert len(client.kept) == 4
        for path in client.folder.glob("*.json"):
            path.write_text('{"version": 3}')
        for path, data in (("/a", DATA), ("/b", OTHER)):
            with fetch_file(Wanted(server.url + path, "it"), state_folder=client.folder) as file:
                assert file.path.read_bytes() == data
    assert client.kept == []
    assert server.ranges == [None] * 4


def test_a_file_of_no_use_is_not_kept(client: Client) -> None:
    with serve() as server:
        for error in (InputError("no cats"), ValueError("a fault")):
            with (
                pytest.raises(type(error)),
                fetch_file(Wanted(server.url + "/a.zip", "it"), state_folder=client.folder),
            ):
                raise error
            assert client.kept == []


def test_two_at_once_take_turns(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    found: list[bytes] = []
    inside, go_on = threading.Event(), threading.Event()

    def run(server: Server, is_first: bool) -> None:
        with fetch_file(Wanted(server.url + "/a.zip", "it"), state_folder=client.folder) as file:
            if is_first:
                inside.set()
                go_on.wait(10)
            found.append(file.path.read_bytes())

    with serve() as server:
        threads = [threading.Thread(target=run, args=(server, is_first)) for is_first in (True, False)]
        threads[0].start()
        assert inside.wait(10)
        threads[1].start()
        while "waiting for it to end" not in capfd.readouterr().out:
            assert threads[1].is_alive()
        assert len(server.requests) == 1
        go_on.set()
        for thread in threads:
            thread.join(10)
    assert found == [DATA, DATA]
    assert client.kept == []


SCRIPT = """
    import signal, sys
    from pathlib import Path
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it runs in the background
    from cvd.data.fetch import Wanted, fetch_file
    with fetch_file(Wanted(sys.argv[1], "it"), state_folder=Path(sys.argv[2])) as file:
        file.path.rename(sys.argv[3])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    folder, target = tmp_path / "downloads", tmp_path / "a.zip"
    with serve(Step(stall=131_072)) as server:
        arguments = [*command, f"{server.url}/a.zip", str(folder), str(target)]
        process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL)
        while not any(path.stat().st_size == 131_072 for path in folder.glob("*.part")):
            assert process.poll() is None
        process.send_signal(number)
        process.wait(10)
        assert not target.exists()
        subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True)
        assert server.ranges == [None, "bytes=131072-"]
        assert server.requests[1][1]["If-Range"] == '"one"'
    assert target.read_bytes() == DATA
    assert list(folder.iterdir()) == []
