"""cvd.data.sources.fetch against a server that breaks off, stalls and changes its mind, and after being killed."""

import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fetch_client import CHUNKED, DATA, NO_LENGTH, OTHER, ROOT, SHA256, Client, frame, serve
from loopback import Server, Step

from cvd.data.sources.fetch import Wanted, fetch_file
from cvd.data.sources.patience import Patience
from cvd.runtime.errors import InputError


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
    assert client.kept == ["", "", ".json", ".json"]
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
    assert len(server.requests) == 1
    assert client.kept == ["", ".json"]


SCRIPT = """
    import sys
    from pathlib import Path
    from cvd.data.sources.fetch import Wanted, fetch_file
    with fetch_file(Wanted(sys.argv[1], "it"), state_folder=Path(sys.argv[2])) as file:
        Path(sys.argv[3]).write_bytes(file.path.read_bytes())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    folder, target = tmp_path / "downloads", tmp_path / "a.zip"
    with serve(Step(stall=131_072)) as server:
        arguments = [*command, f"{server.url}/a.zip", str(folder), str(target)]
        # Tests that a shell runs behind itself inherit that Ctrl-C is ignored.
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL, preexec_fn=heed)
        while not any(path.stat().st_size == 131_072 for path in folder.glob("*.part")):
            assert process.poll() is None
        process.send_signal(number)
        process.wait(10)
        assert not target.exists()
        subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True)
        assert server.ranges == [None, "bytes=131072-"]
        assert server.requests[1][1]["If-Range"] == '"one"'
    assert target.read_bytes() == DATA
    assert sorted(path.name for path in folder.iterdir() if not path.suffix) == [SHA256]


def test_a_finished_download_is_kept(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the server's file has changed; a pinned hash finds it at any address, and refuses another file."""
    with serve() as server:

        def get(**options: Any) -> bytes:
            wanted = Wanted(server.url + options.pop("path", "/a.zip"), "it", **options)
            with fetch_file(wanted, state_folder=client.folder, patience=Patience(1)) as file:
                return file.path.read_bytes()

        assert get() == DATA
        server.files["/a.zip"] = OTHER
        assert get() == get(sha256=SHA256) == get(sha256=SHA256, path="/b.zip") == DATA
        assert len(server.requests) == 1
        line = f"it: 0.3 MB from an earlier download, kept in {client.folder}; delete that folder to download again"
        assert capsys.readouterr().out.splitlines() == [line] * 3
        with pytest.raises(InputError, match=f"has sha256 .*, not {'0' * 64}"):
            get(sha256="0" * 64)
        assert get(sha256=SHA256) == DATA
        with pytest.raises(InputError, match="has 300,000 bytes, not 7"):
            get(n_bytes=7)
        shutil.rmtree(client.folder)
        assert get() == OTHER


@pytest.mark.parametrize("damage", [b"", DATA[:-1], OTHER])
def test_a_damaged_finished_download_is_fetched_again(client: Client, damage: bytes) -> None:
    with serve() as server:
        wanted = Wanted(server.url + "/a.zip", "it")
        for _ in range(2):
            with fetch_file(wanted, state_folder=client.folder) as file:
                assert file.path.read_bytes() == DATA
            (client.folder / SHA256).write_bytes(damage)
    assert server.ranges == [None, None]


@pytest.mark.parametrize("suffix", [".partial", ".part"])  # of the note, of the download
def test_killed_while_a_download_is_kept(client: Client, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """It is then kept, or whole and partial: the next run is asked for nothing more."""
    replace = Path.replace

    def die(path: Path, target: Path) -> Path:
        if path.suffix == suffix:
            raise KeyboardInterrupt
        return replace(path, target)

    with serve() as server:
        wanted = Wanted(server.url + "/a.zip", "it")
        with (
            monkeypatch.context() as patch,
            pytest.raises(KeyboardInterrupt),
            fetch_file(wanted, state_folder=client.folder),
        ):
            patch.setattr(Path, "replace", die)
        assert client.kept == [".json", ".part"]
        with fetch_file(wanted, state_folder=client.folder) as file:
            assert file.path.read_bytes() == DATA
    assert server.ranges == [None, f"bytes={len(DATA)}-"]
    assert client.kept == ["", ".json"]
