"""`cvd serve`: what the page takes and refuses, what it says, and that a browser finds no fault in it."""

import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import keras
import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from cvd.commands import serve
from cvd.data.images.pixels import encode_jpeg
from cvd.runtime.errors import InputError
from cvd.vis.explaining.views import ClassViewer
from cvd.web import answers, server
from cvd.web.app import HEADERS, MAX_BYTES, MemoryRequest, create_app, format_percent

ROOT = Path(__file__).parent.parent
PHOTO = encode_jpeg(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
ORIGIN = {"Origin": "http://localhost"}
FORM = "multipart/form-data; boundary=x"
COLOURS = {"light": {"good": "#0067a5"}, "dark": {"good": "#5cb3ea"}}
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword"
)  # Keras' of NumPy


def answer(photo: np.ndarray) -> dict:
    """As if two layers of a network had looked at it."""
    picture = answers.encode_picture(photo)
    views = [
        answers.View(label, depth, "conv1", largest, "at the top", picture)
        for depth in ("early", "late")
        for label, largest in (("cat", 0.0), ("dog", 1.25))
    ]
    found = [answers.Answer("good", "dog", 0.9731, views)]
    seen = [answers.View(f"tabby {share}%", "last", "top", 1.5, "at the left", picture) for share in (62, 21, 9)]
    recognition = answers.Recognition("EfficientNetLite0", [("tabby", 0.62), ("tabby", 0.21), ("tabby", 0.09)], seen)
    return {"picture": picture, "size": "60 × 40 px", "answers": found, "recognition": recognition}


@pytest.fixture
def client() -> FlaskClient:
    app = create_app(
        answer,
        hosts=["localhost"],
        classes=("cat", "dog"),
        variants=["good"],
        accuracies={"good": 0.97},
        colours=COLOURS,
        scale=answers.encode_scale(),
        note="",
    )
    return app.test_client()


def encode_form(data: bytes, name: str = "a.jpg", **fields: str) -> bytes:
    """A form as a browser sends it; Werkzeug's test client would put large ones on the disk."""
    text = "".join(f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items())
    head = f'--x\r\nContent-Disposition: form-data; name="photo"; filename="{name}"\r\n\r\n'
    return text.encode() + head.encode() + data + b"\r\n--x--\r\n"


def post(client: FlaskClient, data: bytes, name: str = "a.jpg", **headers: str) -> TestResponse:
    return client.post("/", data=encode_form(data, name), content_type=FORM, headers=ORIGIN | headers)


class Outline(HTMLParser):
    """Tags with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def find_alert(page: str) -> str:
    found = re.search(r'role="alert">([^<]*)<', page)
    return found[1] if found else ""


def test_page_needs_nothing_from_elsewhere(client: FlaskClient) -> None:
    for text in (client.get("/").text, post(client, PHOTO).text):
        outline = Outline(text)
        for tag, attributes in outline.tags:
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]
            for key in ("src", "href", "action"):
                value = attributes.get(key) or "/"
                assert value in ("/", "/page.css", "/page.js", "data:,") or value.startswith("data:image/jpeg"), tag
            if tag == "img":
                assert attributes["alt"]
        assert [attributes for tag, attributes in outline.tags if tag == "script"] == [
            {"src": "/page.js", "defer": None}
        ]
        assert ("html", {"lang": "en"}) in outline.tags
        assert any(tag == "label" and attributes["for"] == "photo" for tag, attributes in outline.tags)
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        reply = client.get(f"/{name}")
        assert reply.mimetype == kind
        assert not re.search(r"https?:|@import|url\(", reply.text)
    assert all(colour in client.get("/page.css").text for colour in ("#0067a5", "#5cb3ea"))


def test_answers_are_shown(client: FlaskClient) -> None:
    reply = post(client, PHOTO, "<b>a&b.jpg")
    assert reply.status_code == 200
    assert "&lt;b&gt;a&amp;b.jpg" in reply.text
    assert "<b>a" not in reply.text
    for wanted in (
        "dog, 97.3%",
        "right on 97.0%",
        "60 × 40 px",
        "up to 1.2 logits",
        "nothing in",
        "early layer, for cat",
        "EfficientNetLite0, trained on a million photos of 1,000 classes, takes it for <strong>tabby 62%</strong>, ",
        "most at the left, up to 1.5 logits in",
    ):
        assert wanted in reply.text, wanted
    assert 'alt="Evidence for dog in good, late layer: most at the top"' in reply.text
    assert reply.text.count("data:image/jpeg") == 9


@pytest.mark.parametrize("path", ["/", "/page.css", "/nowhere"])
def test_every_reply_has_the_headers(client: FlaskClient, path: str) -> None:
    replies = [client.get(path), client.get(path, headers={"Host": "evil.example"}), client.post(path)]
    for reply in replies:
        assert {name: reply.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert [reply.status_code for reply in replies[1:]] == [400, 403]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:81", "https://localhost", ""])
def test_photos_of_other_sites_are_refused(client: FlaskClient, origin: str) -> None:
    reply = post(client, PHOTO, Origin=origin)
    assert reply.status_code == 403
    assert find_alert(reply.text) == "Photos are only taken from this page itself."


def test_names_that_were_made_to_point_here_are_refused(client: FlaskClient) -> None:
    reply = post(client, PHOTO, Host="evil.example", Origin="http://evil.example")
    assert reply.status_code in (400, 403)
    assert "data:image/jpeg" not in reply.text
    reply = client.get("/", headers={"Host": "evil.example"})
    assert reply.status_code == 400
    assert find_alert(reply.text).startswith("This page answers only at its own address")
    assert client.get("/", headers={"Host": "localhost:8000"}).status_code == 200


def make_png(size: tuple[int, int], mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "The file is empty."),
        (b"hello", "This is not a photo."),
        (PHOTO[: len(PHOTO) // 2], "A part of the photo is missing"),
        (make_png((8000, 7000), "1"), "too many pixels"),
        (make_png((200, 10)), "too small"),
        (b"\x00\x00\x00\x1cftypheic" + bytes(40), "convert it to JPEG or PNG"),
        (PHOTO[:20] + bytes(1000), "(the JPEG"),
    ],
    ids=["empty", "text", "cut", "many pixels", "small", "heic", "no scan"],
)
def test_bad_photos_are_explained(client: FlaskClient, data: bytes, words: str) -> None:
    reply = post(client, data)
    assert reply.status_code == 400
    assert words in find_alert(reply.text)
    assert "data:image/jpeg" not in reply.text


def test_too_much_is_refused(client: FlaskClient) -> None:
    assert post(client, PHOTO + bytes(MAX_BYTES - len(PHOTO))).status_code == 200
    for n in (MAX_BYTES + 1, 2 * MAX_BYTES):
        reply = post(client, PHOTO + bytes(n - len(PHOTO)))
        assert reply.status_code == 413
        assert find_alert(reply.text) == "The file is too large: at most 20 MB."
    for body in (encode_form(b"", "", a="x" * 10**6), encode_form(PHOTO, **{f"f{i}": "" for i in range(9)})):
        assert client.post("/", data=body, content_type=FORM, headers=ORIGIN).status_code == 413
    for body in (b"", encode_form(b"", "")):
        reply = client.post("/", data=body, content_type=FORM, headers=ORIGIN)
        assert (reply.status_code, find_alert(reply.text)) == (400, "Choose a photo first.")
    assert client.put("/").status_code == 405


def test_photos_of_any_bytes_are_taken(client: FlaskClient) -> None:
    """The parser holds back what could begin a boundary: line breaks, wherever they stand in its pieces of 64 kB."""
    noise = np.random.default_rng(1).bytes(10**6)
    for rest in (b"\n" * 10**6, b"\r\n--" * 10**5, noise):
        reply = post(client, PHOTO + rest)
        assert (reply.status_code, find_alert(reply.text)) == (200, "")


def test_photos_stay_in_memory(client: FlaskClient) -> None:
    body = encode_form(bytes(5 * 10**6))
    with client.application.test_request_context("/", method="POST", data=body, content_type=FORM) as context:
        assert isinstance(context.request, MemoryRequest)
        assert type(context.request.files["photo"].stream) is io.BytesIO


def test_own_faults_are_told_in_the_terminal(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: np.ndarray) -> dict:
        raise RuntimeError("a fault of ours")

    shown: dict[str, Any] = {
        "classes": ("cat", "dog"),
        "variants": [],
        "accuracies": {},
        "colours": {"light": {}, "dark": {}},
        "scale": None,
        "note": "drawn",
    }
    reply = post(create_app(fail, hosts=None, **shown).test_client(), PHOTO)
    assert reply.status_code == 500
    assert "a fault of ours" not in reply.text
    assert "a fault of ours" in caplog.text
    assert '<p class="note">drawn</p>' in reply.text


def test_percentages_claim_no_certainty() -> None:
    found = [format_percent(share) for share in (0.0, 0.0004, 0.5, 0.9731, 0.99999, 1.0)]
    assert found == ["under 0.1%", "under 0.1%", "50.0%", "97.3%", "over 99.9%", "over 99.9%"]


def test_places_are_named() -> None:
    names = []
    for row, column in ((0, 0), (0, 3), (3, 0), (6, 6), (3, 3), (6, 3)):
        heat = np.zeros((7, 7))
        heat[row, column] = 1
        names.append(answers.describe_place(heat))
    assert names == [
        "at the upper left", "at the top", "at the left", "at the lower right", "in the middle", "at the bottom"
    ]  # fmt: skip
    assert answers.describe_place(np.ones((1, 1))) == "in the middle"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two models: the logit is the mean of red (or of what is not) over 255, minus 0.5."""
    root = tmp_path_factory.mktemp("project")
    for folder in (".dvc", "models", "metrics", "data"):
        (root / folder).mkdir()
    (root / "data/raw.json").write_text(json.dumps({"source": "drawn"}))
    (root / "metrics/data.json").write_text(json.dumps({"splits": {"test": {"cat": 1, "dog": 1}}}))
    for name, sign in (("red", 1), ("blue", -1)):
        inputs = keras.Input((24, 24, 3))
        convolution = keras.layers.Conv2D(1, 1, name="conv1")
        outputs = keras.layers.GlobalAveragePooling2D(name="logit")(
            convolution(keras.layers.Rescaling(1 / 255)(inputs))
        )
        model = keras.Model(inputs, outputs)
        kernel = np.array([sign, 0, 0], np.float32).reshape(1, 1, 3, 1)
        convolution.set_weights([kernel, np.array([-0.5 * sign], np.float32)])
        model.save(root / f"models/{name}.keras")
    (root / "metrics/red.json").write_text(json.dumps({"test": {"accuracy": 0.875}}))
    (root / "models/broken.keras").write_bytes(b"no model")
    return root


def test_networks_answer_with_probability_and_evidence(project: Path) -> None:
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[:, :20, 0] = 255  # red at the left: dog there, cat in the rest
    model = keras.models.load_model(project / "models/red.keras")
    found = answers.make_asker("red", model, ("cat", "dog"))(photo)
    assert (found.variant, found.label) == ("red", "cat")
    assert found.probability == pytest.approx(1 / (1 + np.exp(1 / 6)), abs=1e-3)
    assert [(view.label, view.layer) for view in found.views] == [("cat", "conv1"), ("dog", "conv1")]
    assert [view.largest for view in found.views] == [pytest.approx(0.5 / 576 * 576 / 576, rel=1e-3)] * 2
    assert found.views[1].place.endswith("left")
    assert {(view.picture.width, view.picture.height) for view in found.views} == {(400, 267)}


def make_eyes() -> keras.Model:
    """Logits of three classes: ten times the means of red, green and blue, over 255."""
    inputs = keras.Input((24, 24, 3))
    convolution = keras.layers.Conv2D(3, 1, use_bias=False, name="conv1")
    outputs = keras.layers.GlobalAveragePooling2D(name="logits")(convolution(keras.layers.Rescaling(1 / 25.5)(inputs)))
    model = keras.Model(inputs, outputs)
    convolution.set_weights([np.eye(3, dtype=np.float32).reshape(1, 1, 3, 3)])
    return model


def test_backbone_recognises_its_most_probable_classes() -> None:
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[:, :20, 0] = photo[:, 45:, 1] = 255  # a third red, a quarter green
    viewer = ClassViewer(make_eyes(), ["elkhound", "tabby", "lynx"], ["conv1"], method="auto")
    seen = answers.make_recogniser("Eyes", 24, viewer, top=2)(photo)
    logits = np.array([10 / 3, 2.5, 0])
    shares = np.exp(logits) / np.exp(logits).sum()
    assert (seen.backbone, len(seen.views)) == ("Eyes", 2)
    assert [view.label for view in seen.views] == [f"elkhound {shares[0]:.0%}", f"tabby {shares[1]:.0%}"]
    assert [name for name, _ in seen.classes] == ["elkhound", "tabby"]
    assert [share for _, share in seen.classes] == pytest.approx(shares[:2], rel=1e-5)
    assert [view.place.split()[-1] for view in seen.views] == ["left", "right"]
    assert seen.views[0].picture.width == 400


def test_addresses_that_cannot_be_had_are_one_line() -> None:
    with server.open_socket("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        assert server.format_address(opened) == f"http://127.0.0.1:{port}/"
        with pytest.raises(InputError, match=f"--port {port} is in use"):
            server.open_socket("127.0.0.1", port)
    for host, port, message in (("127.0.0.1", 70000, "--port is 70000"), ("192.0.2.1", 0, "--host is '192.0.2.1'")):
        with pytest.raises(InputError, match=message):
            server.open_socket(host, port)
    hosts = ("127.0.0.1", "localhost", "::1", "127.8.0.1", "0.0.0.0", "192.168.0.1", "example.org")
    assert [server.is_loopback(host) for host in hosts] == [True] * 4 + [False] * 3


def test_the_source_is_noted_only_for_drawings(tmp_path: Path) -> None:
    raw = tmp_path / "raw.json"
    for text, noted in (('{"source": "drawn"}', True), ('{"source": "microsoft"}', False), ("[]", False), ("{", False)):
        raw.write_text(text)
        notes = [serve.note_source(raw, recognises=recognises) for recognises in (False, True)]
        assert [bool(note) for note in notes] == [noted, noted]
        assert ("backbone" in notes[1], "backbone" in notes[0]) == (noted, False)


@pytest.fixture(scope="module")
def served(project: Path) -> Iterator[str]:
    """The address of `cvd serve`, which is then ended as people end it."""
    command = [sys.executable, "-P", "-m", "cvd.cli", "serve", "--port", "0"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stderr
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if "ready" in line:
            break
    assert lines[:-1] == ["loaded blue, 24 px", "loaded red, 24 px"], process.stderr.read()
    yield lines[-1].split()[0]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert re.fullmatch(r"left out broken: model .*broken.keras cannot be loaded: .*\n", errors), errors


def test_the_server_says_little_and_answers_too_large_uploads(served: str) -> None:
    with urllib.request.urlopen(served) as reply:
        assert reply.headers["Server"] == "cvd"
        assert "drawn images" in reply.read().decode()
    host, port = served.removeprefix("http://").rstrip("/").split(":")
    assert host == "127.0.0.1"
    size = MAX_BYTES + 10**6
    request = urllib.request.Request(served, bytes(size), {"Origin": served.rstrip("/")})
    request.add_header("Content-Type", "multipart/form-data; boundary=x")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as error:
        assert error.code == 413
        assert find_alert(error.read().decode()) == "The file is too large: at most 20 MB."
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 404")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    tab = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield tab
    tab.close()


needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium on this machine")


@needs_chromium
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_browser_shows_every_variant(
    served: str, chromium: browser.Browser, width: int, dark: bool, tmp_path: Path
) -> None:
    (tmp_path / "größe & co.jpg").write_bytes(PHOTO)
    chromium.complaints.clear()
    chromium.show(served, width=width, dark=dark)
    assert chromium.run("document.getElementById('ask').offsetHeight") == 0, (
        "the button is for browsers without scripts"
    )
    chromium.choose_file("#photo", tmp_path / "größe & co.jpg")
    chromium.wait("document.getElementById('heading')")
    assert chromium.run("document.activeElement.textContent") == "größe & co.jpg"
    names = "[...document.querySelectorAll('dt')].map(each => each.textContent)"
    assert chromium.run(names) == ["blue", "red"]
    chromium.wait("[...document.images].every(each => each.complete)")
    assert chromium.run("[...document.images].filter(each => each.naturalWidth).length") == 1 + 1 + 2 * 2
    assert chromium.run("[...document.images].filter(each => !each.naturalWidth).length") == 0
    assert chromium.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    paper = chromium.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 25, 29)" if dark else "rgb(255, 255, 255)")
    assert chromium.run("getComputedStyle(document.querySelector('dt')).color") != chromium.run(
        "getComputedStyle(document.body).color"
    )
    assert chromium.complaints == []


@needs_chromium
def test_browser_explains_what_is_refused(served: str, chromium: browser.Browser, tmp_path: Path) -> None:
    alert = "document.querySelector('[role=alert]')"
    chromium.show(served, width=390)
    for name, data, words in (
        ("large.jpg", bytes(MAX_BYTES + 1), "The file is too large: at most 20 MB."),
        ("broken.jpg", PHOTO[:300], "A part of the photo is missing"),
    ):
        (tmp_path / name).write_bytes(data)
        chromium.choose_file("#photo", tmp_path / name)
        chromium.wait(f"{alert}?.textContent.startsWith({words!r})")
    (tmp_path / "good.jpg").write_bytes(PHOTO)
    chromium.choose_file("#photo", tmp_path / "good.jpg")
    chromium.wait("document.getElementById('heading')")
    assert chromium.run(f"{alert} === null")


@needs_chromium
def test_browser_takes_dropped_photos_and_forms_without_scripts(
    served: str, chromium: browser.Browser, tmp_path: Path
) -> None:
    chromium.show(served, width=1280)
    chromium.run(
        f"""(() => {{
          const bytes = Uint8Array.from({list(PHOTO)}), carried = new DataTransfer();
          carried.items.add(new File([bytes], "dropped.jpg"));
          document.body.dispatchEvent(new DragEvent("drop", {{bubbles: true, dataTransfer: carried}}));
        }})()"""
    )
    chromium.wait("document.getElementById('heading')?.textContent === 'dropped.jpg'")
    (tmp_path / "plain.jpg").write_bytes(PHOTO)
    # A page may run no script of its own then; what the test runs from outside must not wait inside it.
    chromium.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.send("Page.navigate", url=served)
        poll(chromium, "document.readyState === 'complete' && !document.getElementById('heading')")
        assert chromium.run("document.getElementById('ask').offsetHeight") > 0
        chromium.choose_file("#photo", tmp_path / "plain.jpg")
        chromium.run("document.getElementById('form').submit()")
        poll(chromium, "document.getElementById('heading')?.textContent === 'plain.jpg'")
    finally:
        chromium.send("Emulation.setScriptExecutionDisabled", value=False)


def poll(chromium: browser.Browser, script: str) -> None:
    for _ in range(600):
        if chromium.run(script):
            return
        time.sleep(0.1)
    pytest.fail(f"waited a minute for {script}")
