"""The sources of the net, end to end: server, download, raw.zip, raw.json, images."""

import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kagglesdk import kaggle_env
from loopback import GOOD, Server, Step
from photo_samples import make_jpeg, make_members, write_zip

from cvd.data.intake.placement import Placement, place_images
from cvd.data.sources import fetch as fetching
from cvd.data.sources import origins
from cvd.data.sources import registry as sources
from cvd.data.sources.registry import Provenance, Source, fetch_source
from cvd.runtime.errors import InputError

ROOT = Path(__file__).parents[3]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pack(folder: Path, members: Mapping[str, bytes]) -> bytes:
    return write_zip(folder / "made.zip", members).read_bytes()


def fetch(source: str, folder: Path, **options: Any) -> Provenance:
    request = origins.Request("unused", 10, 1, state_folder=folder / "downloads", **options)
    record = fetch_source(source, request, archive=folder / "data/raw.zip", record=folder / "data/raw.json")
    kept = folder / "downloads" / str(record.fetched_sha256)
    assert (kept.stat().st_ino == (folder / "data/raw.zip").stat().st_ino) == (record.sha256 == record.fetched_sha256)
    assert sorted(path.suffix for path in kept.parent.iterdir()) == ["", ".json", ".lock"]
    return record


def place(folder: Path) -> Placement:
    (folder / "images").mkdir()
    sizes = {"train": None, "validation": 1, "test": 1}
    paths = (folder / "data/raw.zip", folder / "images", folder / "masks.zip")
    return place_images(*paths, classes=("cat", "dog"), **sizes, seed=1, threads=2)


def refuse(source: str, folder: Path, match: str, **options: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        fetch(source, folder, **options)
    assert "\n" not in str(caught.value)
    assert not [path for path in folder.rglob("*") if path.suffix in (".part", ".zip", ".json", ".partial")]
    assert not [path for path in folder.rglob("*") if len(path.name) == 64]


def test_microsoft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = {
        f"PetImages/{name}/{i}.jpg": make_jpeg(100 * label + i)
        for label, name in enumerate(("Cat", "Dog"))
        for i in range(4)
    }
    bad = {"PetImages/Cat/666.jpg": b"", "PetImages/Dog/11702.jpg": b"", "PetImages/Dog/2317.jpg": make_jpeg(9)[:500]}
    rest = {"PetImages/Cat/Thumbs.db": b"db", "PetImages/Dog/Thumbs.db": b"db", "readme[1].txt": b"read me"}
    data = pack(tmp_path, photos | bad | rest)
    usual = replace(origins.MICROSOFT, sha256=digest(data), n_bytes=len(data))
    monkeypatch.setitem(
        sources.SOURCES, "microsoft", replace(sources.SOURCES["microsoft"], fetch=origins.fetch_known(usual))
    )
    with Server({"/cats.zip": data}, Step(cut=2000)) as server:
        record = fetch("microsoft", tmp_path, url=f"{server.url}/cats.zip")
    assert server.ranges == [None, "bytes=2000-"]
    assert (tmp_path / "data/raw.zip").read_bytes() == data
    written = json.loads((tmp_path / "data/raw.json").read_text())
    assert written.pop("fetched_at").endswith("+00:00")
    assert written == {
        "source": "microsoft",
        "path": None,
        "url": f"{server.url}/cats.zip",
        "fetched_sha256": digest(data),
        "fetched_bytes": len(data),
        "sha256": digest(data),
        "bytes": len(data),
        "members": 14,
        "licence": record.licence,
        "redistributable": False,
    }
    assert "non-commercial research" in record.licence
    placement = place(tmp_path)
    assert len(placement.rows) == 8
    assert sorted(str(row["reason"]) for row in placement.quarantine) == ["empty"] * 2 + ["not_an_image"] * 3 + [
        "truncated"
    ]


def test_microsoft_elsewhere_must_be_the_same(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    data = pack(tmp_path / "elsewhere", make_members(2))
    (tmp_path / "elsewhere/made.zip").unlink()
    with Server({"/a.zip": data}) as server:
        refuse("microsoft", tmp_path, f"a.zip has {len(data):,} bytes, not 824,887,076", url=f"{server.url}/a.zip")
        refuse(
            "microsoft", tmp_path, f"has sha256 {digest(data)}, not 0{{64}}", url=f"{server.url}/a.zip", sha256="0" * 64
        )
        record = fetch("microsoft", tmp_path, url=f"{server.url}/a.zip", sha256=digest(data).upper())
    assert record.fetched_sha256 == digest(data)


def test_filtered(tmp_path: Path) -> None:
    names = [
        f"cats_and_dogs_filtered/{split}/{label}s/{label}.{n}.jpg"
        for split, start in (("train", 0), ("validation", 2000))
        for label in ("cat", "dog")
        for n in range(start, start + 3)
    ]
    members = {name: make_jpeg(i) for i, name in enumerate(names)} | {"cats_and_dogs_filtered/vectorize.py": b"code"}
    data = pack(tmp_path, members)
    with Server({"/f.zip": data}) as server:
        record = fetch("filtered", tmp_path, url=f"{server.url}/f.zip")
    assert (record.fetched_sha256, record.members) == (digest(data), 13)
    placement = place(tmp_path)
    assert len(placement.rows) == 12
    assert [row["source_name"] for row in placement.quarantine] == ["cats_and_dogs_filtered/vectorize.py"]


def test_filtered_at_its_own_address_has_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server({"/f.zip": b"PK\x03\x04"}) as server:
        usual = replace(origins.FILTERED, url=f"{server.url}/f.zip")
        monkeypatch.setitem(sources.SOURCES, "filtered", Source(origins.fetch_known(usual), ""))
        refuse("filtered", tmp_path, "data.source filtered has 4 bytes, not 68,606,236")


@pytest.fixture
def kaggle_server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Kaggle's service as its SDK knows it, at a home without credentials."""
    for name in ("API_TOKEN", "USERNAME", "KEY", "CONFIG_DIR"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    with Server({}) as server:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.TEST, server.url)
        yield server


PATH = "/api/v1/competitions.CompetitionApiService/DownloadDataFiles"
RULES = b'{"code":403,"message":"You must accept this competition\'s rules before you\'ll be able to download files."}'
JSON = {"Content-Type": "application/json; charset=utf-8"}


def test_kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kaggle_server: Server) -> None:
    inner = pack(tmp_path, make_members(4))
    test = pack(tmp_path, {f"test1/{i}.jpg": make_jpeg(500 + i) for i in range(3)})
    data = pack(tmp_path, {"sampleSubmission.csv": b"id,label\n", "test1.zip": test, "train.zip": inner})
    # Of each try the SDK's own request is the first; ours brings the file.
    with Server({"/stored": data}, Step(), Step(cut=3000)) as store:
        moved = Step(302, headers={"Location": f"{store.url}/stored?X-Goog-Signature=hush"})
        kaggle_server.steps, kaggle_server.always = [Step(503)], moved
        monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_secret")
        record = fetch("kaggle", tmp_path)
    asked = [(path, headers["Authorization"]) for path, headers in kaggle_server.requests]
    assert asked == [(PATH, "Bearer KGAT_secret")] * 3
    assert {headers["User-Agent"] for _, headers in kaggle_server.requests} == {"cvd"}
    assert [json.loads(body) for body in kaggle_server.bodies] == [{"competitionName": "dogs-vs-cats"}] * 3
    assert {headers["Authorization"] for _, headers in store.requests} == {None}
    assert store.ranges == [None, None, None, "bytes=3000-"]
    assert (tmp_path / "data/raw.zip").read_bytes() == data
    text = (tmp_path / "data/raw.json").read_text()
    assert "hush" not in text
    assert "secret" not in text
    assert (record.url, record.members) == ("https://www.kaggle.com/competitions/dogs-vs-cats/data", 12)
    placement = place(tmp_path)
    assert len(placement.rows) == 8
    assert sorted(str(row["reason"]) for row in placement.quarantine) == ["no_label"] * 3 + ["not_an_image"]
    monkeypatch.delenv("KAGGLE_API_TOKEN")  # what is kept needs neither a server nor credentials
    assert fetch("kaggle", tmp_path).sha256 == record.sha256


def test_kaggle_without_credentials_keeps_what_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kaggle_server: Server
) -> None:
    monkeypatch.setattr(fetching, "Patience", functools.partial(fetching.Patience, 1))
    with Server({"/stored": bytes(9000)}, Step(), Step(cut=3000)) as store:
        kaggle_server.always = Step(302, headers={"Location": f"{store.url}/stored"})
        for token, message in (("KGAT_secret", "are kept: run again"), ("", "needs your Kaggle credentials")):
            monkeypatch.setenv("KAGGLE_API_TOKEN", token)
            with pytest.raises(InputError, match=message):
                fetch("kaggle", tmp_path)
            assert [path.stat().st_size for path in (tmp_path / "downloads").glob("*.part")] == [3000]


def test_kaggle_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kaggle_server: Server) -> None:
    refuse("kaggle", tmp_path, "data.source kaggle needs your Kaggle credentials, and there are none")
    assert kaggle_server.requests == []
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    kaggle_server.steps = [Step(401, b"no"), Step(403, RULES, JSON), Step(404, b'{"code":404,"message":"gone"}', JSON)]
    refuse("kaggle", tmp_path, "answers 401 Unauthorized: the credentials in KAGGLE_USERNAME and KAGGLE_KEY are not")
    rules = "must accept this competition's rules.*https://www.kaggle.com/competitions/dogs-vs-cats/rules"
    refuse("kaggle", tmp_path, rules)
    refuse("kaggle", tmp_path, r"answers 404 Not Found \(gone\): check the address")
    kaggle_server.always = Step(200, b"PK")
    refuse(
        "kaggle", tmp_path, "Kaggle names no address: get it at https://www.kaggle.com/competitions/dogs-vs-cats/data"
    )
    kaggle_server.always = Step(403, RULES)
    refuse("kaggle", tmp_path, f"data.url {kaggle_server.url}/mirror .*{rules}", url=f"{kaggle_server.url}/mirror")
    assert kaggle_server.requests[-1][1]["Authorization"] is None  # a mirror gets no credentials


def test_kaggles_storage_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kaggle_server: Server) -> None:
    monkeypatch.setattr(fetching, "Patience", functools.partial(fetching.Patience, 2, wait=lambda seconds: None))
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_secret")
    with Server({}, always=Step(403, b"<Error/>")) as store:
        kaggle_server.always = Step(302, headers={"Location": f"{store.url}/stored?X-Goog-Signature=hush"})
        with pytest.raises(InputError, match="Kaggle's storage answers 403, 2 times in a row") as caught:
            fetch("kaggle", tmp_path)
    assert "hush" not in str(caught.value)


def test_kaggles_login_is_renewed(tmp_path: Path, kaggle_server: Server) -> None:
    login = Path.home() / ".kaggle/credentials.json"
    login.parent.mkdir()
    expired = {"refresh_token": "R", "access_token": "A", "access_token_expiration": "2026-01-01T00:00:00+00:00"}
    login.write_text(json.dumps(expired))
    kaggle_server.steps = [Step(200, b'{"token":"B","expiresIn":3600}', JSON), Step(403, RULES, JSON)]
    refuse("kaggle", tmp_path, "must accept this competition's rules")
    asked = [(path.rpartition("/")[2], headers["Authorization"]) for path, headers in kaggle_server.requests]
    assert asked == [("GenerateAccessToken", None), ("DownloadDataFiles", "Bearer B")]
    login.write_text(json.dumps(expired))
    kaggle_server.steps = [Step(401, b'{"code":401,"message":"Unauthenticated"}', JSON)]
    refuse("kaggle", tmp_path, "credentials.json has expired: run `kaggle auth login` again")


@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "xz"])
def test_url_by_content_not_by_name(tmp_path: Path, kind: str) -> None:
    data = pack(tmp_path, make_members(2))
    if kind != "zip":
        (tmp_path / "photos").mkdir()
        for name, photo in make_members(2).items():
            (tmp_path / "photos" / Path(name).name).write_bytes(photo)
        with tarfile.open(tmp_path / "made.tar", f"w:{kind}" if kind != "tar" else "w") as tar:
            tar.add(tmp_path / "photos", "photos")
        data = (tmp_path / "made.tar").read_bytes()
    with Server({"/get": data}) as server:
        url = server.url.replace("//", "//me:secret@") + "/get?key=secret&name=a.exe"
        record = fetch("url", tmp_path, url=url, sha256=digest(data))
    assert record.members == 4
    assert record.url == f"{server.url}/get?..."
    assert (record.fetched_sha256, record.fetched_bytes) == (digest(data), len(data))
    assert (record.sha256 == record.fetched_sha256) == (kind == "zip")
    assert "secret" not in (tmp_path / "data/raw.json").read_text()


def test_downloads_that_are_no_photos(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    whole = pack(tmp_path / "elsewhere", make_members(2))
    birds = pack(tmp_path / "elsewhere", {"bird.1.jpg": make_jpeg(1)})
    (tmp_path / "elsewhere/made.zip").unlink()
    cases = [
        (b"just text", "neither a zip nor a tar"),
        (b"", "neither a zip nor a tar"),
        (whole[:-100], "a damaged zip: its end is missing"),
        (birds, "holds neither cats nor dogs by the names of its 1 files"),
        (b"<!doctype html>", "brings a web page"),
    ]
    for data, message in cases:
        with Server({"/a.zip": data}) as server:
            match = f"data.url {server.url}/a.zip (is )?{message}"
            refuse("url", tmp_path, match, url=f"{server.url}/a.zip", sha256=digest(data))


def test_killed_while_the_archive_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All has come, nothing is in place: the next run fetches nothing anew."""
    data = pack(tmp_path, make_members(2))

    def die(*arguments: object) -> int:
        raise KeyboardInterrupt

    with Server({"/a.zip": data}) as server:
        get = functools.partial(fetch, "url", tmp_path, url=f"{server.url}/a.zip", sha256=digest(data))
        with monkeypatch.context() as patch:
            patch.setattr(sources, "check_labels", die)
            with pytest.raises(KeyboardInterrupt):
                get()
        assert not list((tmp_path / "data").iterdir())
        get()
    assert server.ranges == [None, f"bytes={len(data)}-"]
    assert (tmp_path / "data/raw.zip").read_bytes() == data


STAGE = ["-m", "stages.download", "--source-path", "unused", "--archive", "data/raw.zip", "--record", "data/raw.json"]


def test_the_stage_killed_and_run_again(tmp_path: Path) -> None:
    data = pack(tmp_path, make_members(20))
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "DVC_ROOT": str(tmp_path / "root")}
    options: dict[str, Any] = {
        "cwd": tmp_path,
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }
    downloads = tmp_path / "root/.cvd/downloads"
    with Server({"/a.zip": data}, Step(stall=16384), always=GOOD) as server:
        params["data"].update(source="url", url=f"{server.url}/a.zip?key=secret", sha256=digest(data))
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        with subprocess.Popen([sys.executable, *STAGE], **options) as process:
            while not any(path.stat().st_size == 16384 for path in downloads.glob("*.part")):
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
        done = subprocess.run([sys.executable, *STAGE], **options, check=False)
    assert done.returncode == 0, done.stdout
    assert server.ranges == [None, "bytes=16384-"]
    assert (tmp_path / "data/raw.zip").read_bytes() == data
    assert sorted(path.name for path in downloads.iterdir() if not path.suffix) == [digest(data)]
    assert "secret" not in done.stdout
    assert f"from url {server.url}/a.zip?..." in done.stdout
    shutil.rmtree(tmp_path / "data")  # as DVC does before it runs a stage again
    done = subprocess.run([sys.executable, *STAGE], **options, check=False)  # the server is gone
    assert f"data.url {server.url}/a.zip?...: 0.1 MB from an earlier download, kept in {downloads}" in done.stdout
    assert (tmp_path / "data/raw.zip").read_bytes() == data
    params["data"]["sha256"] = "0" * 64
    with Server({"/a.zip": data}) as server:
        params["data"]["url"] = f"{server.url}/a.zip"
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        done = subprocess.run([sys.executable, *STAGE], **options, check=False)
    assert done.returncode == 2
    assert f"error: data.url {server.url}/a.zip has sha256 {digest(data)}, not {'0' * 64}" in done.stdout
    assert "Traceback" not in done.stdout
