"""`cvd serve` for programs, on IPv6, and under connections that stall."""

import json
import socket
import threading
import urllib.error
import urllib.request

import psutil
import pytest
from flask.testing import FlaskClient
from test_serve import COLOURS, FORM, PHOTO, answer, encode_form

from cvd.web import answers, server
from cvd.web.app import MAX_BYTES, create_app

STALLED, HONEST = 120, 40
SHOWN = {"classes": ("cat", "dog"), "variants": ["good"], "accuracies": {"good": 0.97}, "colours": COLOURS, "note": ""}


def make_client(token: str = "", hosts: tuple[str, ...] | None = ("localhost",)) -> FlaskClient:
    return create_app(answer, hosts=hosts, token=token, scale=answers.encode_scale(), **SHOWN).test_client()


def test_programs_get_json() -> None:
    client = make_client()
    reply = client.post("/api/predict", data=PHOTO)
    assert (reply.status_code, reply.mimetype) == (200, "application/json")
    (found,) = reply.json["answers"]
    assert (found["variant"], found["label"], found["probability"]) == ("good", "dog", 0.9731)
    assert found["evidence"][1] == {"label": "dog", "layer": "conv1", "largest": 1.25, "place": "at the top"}
    seen = reply.json["recognition"]
    assert (seen["backbone"], len(seen["classes"])) == ("EfficientNetLite0", 3)
    assert seen["classes"][0] == {"label": "tabby", "probability": 0.62, "place": "at the left"}
    for data, code, words in (
        (b"", 400, "The file is empty."),
        (b"hello", 400, "This is not a photo."),
        (bytes(MAX_BYTES + 1), 413, "at most 20 MB"),
    ):
        reply = client.post("/api/predict", data=data)
        assert reply.status_code == code
        assert words in reply.json["error"]
    reply = client.post("/api/predict", data=encode_form(PHOTO), content_type=FORM)
    assert "as the body, not as a form" in reply.json["error"]
    assert client.get("/api/predict").json["error"]
    assert client.get("/api/nothing").status_code == 404


def test_browsers_of_other_sites_are_refused_there_too() -> None:
    client = make_client()
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        reply = client.post("/api/predict", data=PHOTO, headers=headers)
        assert reply.status_code == 403
        assert reply.json == {"error": "Photos are only taken from this page itself."}
    assert client.post("/api/predict", data=PHOTO, headers={"Origin": "http://localhost"}).status_code == 200
    assert client.post("/api/predict", data=PHOTO, headers={"Host": "evil.example"}).status_code == 400


def test_a_token_is_asked_for_where_there_is_one() -> None:
    client = make_client("sécret", None)
    for header in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic c8OpY3JldA=="}):
        reply = client.post("/api/predict", data=PHOTO, headers=header)
        assert reply.status_code == 401
        assert reply.json["error"].startswith("Send the token")
    client = make_client("secret", None)
    assert client.post("/api/predict", data=PHOTO, headers={"Authorization": "Bearer secret"}).status_code == 200


def test_the_api_describes_itself() -> None:
    for token, is_named in (("", False), ("secret", True)):
        reply = make_client(token).get("/api/")
        assert reply.status_code == 200
        assert "http://localhost/api/predict" in reply.text
        assert ("Bearer TOKEN" in reply.text) == is_named
        assert "secret" not in reply.text


@pytest.fixture(params=["127.0.0.1", "::1"])
def address(request: pytest.FixtureRequest) -> str:
    """A server on a thread of its own, which ends with the tests."""
    host = request.param
    try:
        opened = server.open_socket(host, 0)
    except Exception:
        pytest.skip(f"no {host} on this machine")
    names = ["127.0.0.1", "localhost", "[::1]", host]
    app = create_app(answer, hosts=names, scale=answers.encode_scale(), **SHOWN)
    limit = {"max_bytes": 2 * MAX_BYTES}
    threading.Thread(target=server.run_server, args=(app, opened), kwargs=limit, daemon=True).start()
    return server.format_address(opened)


def ask(address: str) -> int:
    with urllib.request.urlopen(urllib.request.Request(f"{address}api/predict", PHOTO), timeout=60) as reply:
        return len(json.load(reply)["answers"])


def test_honest_requests_are_answered_among_stalled_ones(address: str) -> None:
    host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
    process = psutil.Process()
    before, n_threads = process.memory_info().rss, process.num_threads()
    stalled = [socket.create_connection((host.strip("[]"), int(port))) for _ in range(STALLED)]
    try:
        for n, link in enumerate(stalled):
            head = f"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**7}\r\n\r\n"
            link.sendall(head.encode()[: 20 if n % 2 else None] + bytes(0 if n % 2 else 10**5))
        assert [ask(address) for _ in range(HONEST)] == [1] * HONEST
        assert process.num_threads() - n_threads < 10
        assert (process.memory_info().rss - before) / 2**20 < 150
    finally:
        for link in stalled:
            link.close()


def test_a_body_of_twice_the_limit_is_not_read(address: str) -> None:
    host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port))) as link:
        head = f"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {3 * MAX_BYTES}"
        link.sendall(f"{head}\r\n\r\n".encode())
        link.settimeout(30)
        assert link.recv(100).startswith(b"HTTP/1.1 413")
