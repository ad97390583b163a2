"""cvd.data.sources.fetch against a server that refuses, is busy, or sends elsewhere."""

import json
import shutil
from email.utils import formatdate

import pytest
from fetch_client import DATA, Client, serve
from loopback import GOOD, Step

from cvd.data.sources.fetch import Wanted, fetch_file
from cvd.data.sources.partials import UnfinishedError
from cvd.data.sources.patience import Patience
from cvd.data.sources.replies import strip_secrets


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
        with (
            pytest.raises(UnfinishedError) as caught,
            fetch_file(
                Wanted(front.url.replace("//", "//you:secret@") + "/a.zip?token=secret", "it"),
                state_folder=client.folder,
                patience=Patience(1),
            ),
        ):
            pass
        kept = b"".join(path.read_bytes() for path in client.folder.glob("*.json"))
        shutil.rmtree(client.folder)
        assert json.loads(kept)["address"] == f"{front.url}/a.zip?..."
        assert client.fetch(front) == DATA
    assert {headers["Authorization"] for _, headers in front.requests} == {"Basic eW91OnNlY3JldA==", None}
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
