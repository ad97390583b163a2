"""`make torture`: signals, hostile files and sick servers for an hour at most; a table of what broke.

Each trial has a share of the time and stops when that is over, so that a slow machine does fewer of them.
A short form of each is among the ordinary tests.
"""

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from PIL import Image

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
SEED = int(os.environ.get("SEED", time.time_ns() % 10**6))
Row = tuple[str, int, str, str]  # what, how many were tried, what came out, the goal


def signal_dvc(end: float, rng: random.Random, *options: str) -> tuple[int, int]:
    """Signal `dvc repro` at any moment, then run it: how often, and how often that needed a hand."""
    from runtime.test_bookkeeping import DVC, ENVIRONMENT
    from tiny_project import MAKE, fake_graph, name_author, run, tiny_params

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "make.py").write_text(MAKE)
        (root / "dvc.yaml").write_text(yaml.safe_dump(fake_graph(), sort_keys=False))
        (root / "params.yaml").write_text(yaml.safe_dump(tiny_params()))
        for path in ("data/corrections.csv", ".gitignore"):
            (root / path).parent.mkdir(exist_ok=True)
            shutil.copy(Path(__file__).parent.parent / path, root / path)
        run("git", "init", "-q", cwd=root, forks=False)
        name_author(root)
        run("dvc", "init", "-q", cwd=root, forks=False)
        command = [sys.executable, "-c", DVC, "repro"]

        def start(*words: str) -> subprocess.Popen[str]:
            streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
            return subprocess.Popen([*command, *words], cwd=root, env=ENVIRONMENT, start_new_session=True, **streams)

        begin = time.monotonic()
        start().communicate()
        n = n_broken = 0
        if not options:
            begin = time.monotonic()
            start().communicate()
        seconds = time.monotonic() - begin
        while time.monotonic() < end:
            process = start(*options)
            time.sleep(rng.uniform(0, seconds))
            number = rng.choice((signal.SIGKILL, signal.SIGINT, signal.SIGTERM))
            rng.choice((os.kill, os.killpg))(process.pid, number)
            process.communicate()
            n += 1
            again = start()
            _, errors = again.communicate()
            if again.returncode:
                n_broken += 1
                print(f"after {number.name}: {errors[-300:]}", file=sys.stderr)
                subprocess.run([sys.executable, "-m", "cvd.cli", "doctor"], cwd=root, check=False)
        return n, n_broken


def torture_noop(end: float, rng: random.Random) -> Row:
    n, n_broken = signal_dvc(end, rng)
    return "signals in a no-op", n, f"{n_broken} broken", "none of 1,000"


def torture_run(end: float, rng: random.Random) -> Row:
    n, n_broken = signal_dvc(end, rng, "--force")
    return "signals in a run of all stages", n, f"{n_broken} hand-fixes", "none of 1,000"


def make_zoo(rng: random.Random, n: int, path: Path) -> None:
    """Pictures of all kinds, most of them damaged at random."""
    from photo_samples import encode, make_picture

    kinds: list[dict[str, Any]] = [{"kind": kind} for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")]
    kinds += [{"kind": "JPEG", "progressive": True}, {"kind": "TIFF", "big_tiff": True}]
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(n):
            data = bytearray(encode(make_picture(i), **rng.choice(kinds)))
            for _ in range(rng.choice((0, 1, 1, 3, 20))):
                data[rng.randrange(len(data))] = rng.randrange(256)
            cut = rng.choice((len(data), len(data), rng.randrange(len(data))))
            archive.writestr(f"{rng.choice(('cat', 'dog', '=cat', 'x'))}.{i}\x1b.jpg", bytes(data[:cut]))


def torture_zoo(end: float, rng: random.Random) -> Row:
    from cvd.data.archives.reading import open_archive
    from cvd.data.intake.members import Row as Refusal
    from cvd.data.intake.members import inspect_members

    n, seen = 500, []
    with tempfile.TemporaryDirectory() as name:
        make_zoo(rng, n, Path(name, "zoo.zip"))
        for threads in (1, 4):
            refused: list[Refusal] = []
            with open_archive(Path(name, "zoo.zip")) as members, tempfile.TemporaryFile() as spool:
                taken = [
                    (item.member.name, item.intake.sha256) for item in inspect_members(members, spool, refused, threads)
                ]
            seen.append((taken, json.dumps(sorted(refused, key=str))))
            n_lost = n - len(taken) - len(refused)
    return (
        "zoo members",
        n,
        f"{n_lost} lost; {'the same' if seen[0] == seen[1] else 'other'} bytes twice",
        "0 lost, the same",
    )


def torture_memory(end: float, rng: random.Random) -> Row:
    from intake.test_intake import measure_peak
    from photo_samples import encode

    with tempfile.TemporaryDirectory() as name:
        path, rest = Path(name, "a.zip"), bytes(31 * 2**20)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(120):
                archive.writestr(f"cat.{i}.jpg", rng.choice((b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff")) + rest)
        peaks = [measure_peak(path)[3]]
        x = np.broadcast_to(np.linspace(0, 255, 7000).astype(np.uint8), (7000, 7000))
        photo = Image.fromarray(np.stack([x, x.T, x], -1))
        for options in ({"progressive": True, "subsampling": 0}, {"kind": "PNG"}, {"kind": "WEBP", "method": 0}):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("cat.1.jpg", encode(photo, **options))
            peaks.append(measure_peak(path)[3])
    return "peak memory of sources", 4, f"{max(peaks):,} MB", "1,000 MB"


def torture_params(end: float, rng: random.Random) -> Row:
    from test_params_fuzz import CORPUS, LONGEST, PLACES, TEXT

    from cvd.runtime.errors import InputError
    from cvd.runtime.params.loading import parse_params, parse_yaml

    values = [
        None,
        True,
        -1,
        10**30,
        0.5,
        float("nan"),
        "x",
        "",
        [],
        {},
        [1, [2]],
        {"a": {}},
        "\x1b[2J\n",
        b"\xff",
        ...,
    ]
    whole = parse_yaml(TEXT)
    n = n_bad = 0
    while n < 5000 and time.monotonic() < end:
        n += 1
        try:
            if n % 2:
                raw, place = copy.deepcopy(whole), rng.choice(PLACES)
                reduce(lambda node, key: node[key], place[:-1], raw)[place[-1]] = rng.choice(values)
                parse_params(raw)
            else:
                at = rng.randrange(len(TEXT))
                parse_params(parse_yaml(TEXT[:at] + rng.choice(CORPUS)[:999] + TEXT[at + rng.randrange(40) :]))
        except InputError as error:
            n_bad += not (str(error).isprintable() and len(str(error)) <= LONGEST)
        except Exception as error:
            n_bad += 1
            print(f"params.yaml: {error!r}"[:300], file=sys.stderr)
    return "mutated parameters", n, f"{n - n_bad} in one line", "5,000 of 5,000"


def torture_downloads(end: float, rng: random.Random) -> Row:
    from fetch_client import CHUNKED, DATA, NO_LENGTH, PAGE, serve
    from loopback import Step
    from sources.test_fetch_slow import DRIPS, drip

    from cvd.data.sources.fetch import Wanted, fetch_file
    from cvd.runtime.errors import InputError

    def fetch(url: str) -> bool:
        begin = time.monotonic()
        try:
            with tempfile.TemporaryDirectory() as name, fetch_file(Wanted(url, "it"), state_folder=Path(name)):
                return False
        except InputError as error:
            return time.monotonic() - begin <= 135 and str(error).isprintable()

    def fetch_drip(kind: str) -> bool:
        with drip(DRIPS[kind]()) as url:
            return fetch(url)

    def fetch_step(step: Step) -> bool:
        with serve(always=step) as server:
            return fetch(f"{server.url}/a.zip")

    steps = [Step(status) for status in (400, 401, 403, 404, 407, 410, 416, 418, 429, 451, 500, 502, 503, 504)]
    steps += [Step(body=PAGE), Step(body=b"zz\r\n", headers=CHUNKED), Step(body=b"5\r\nab", headers=CHUNKED)]
    steps += [Step(stall=n) for n in (0, 100, 1000)]
    steps += [Step(cut=n, headers=h) for n in (0, 100) for h in ({}, {"ETag": None})]
    steps += [Step(206, DATA), Step(302, headers={"Location": "/a.zip"}), Step(302, headers={"Location": "ftp://x/"})]
    steps += [Step(stall=10, headers=NO_LENGTH), Step(body=DATA[:9])]
    with ThreadPoolExecutor(40) as pool:
        ended = [*pool.map(fetch_drip, DRIPS), *pool.map(fetch_step, steps)]
    return "download faults", len(ended), f"{sum(ended)} end in a line in two minutes", "all"


def torture_server(end: float, rng: random.Random) -> Row:
    import socket

    import test_serve_limits as limits

    opened = limits.server.open_socket("127.0.0.1", 0)
    app = limits.create_app(limits.answer, hosts=None, scale=limits.answers.encode_scale(), **limits.SHOWN)
    threading.Thread(
        target=limits.server.run_server, args=(app, opened), kwargs={"max_bytes": 2**25}, daemon=True
    ).start()
    address = limits.server.format_address(opened)
    links = [socket.create_connection(opened.getsockname()[:2]) for _ in range(500)]
    for n, link in enumerate(links):
        link.sendall(
            b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"[: 20 if n % 2 else None]
        )
        link.sendall(bytes(10**5 if n % 2 == 0 else 0))
    with ThreadPoolExecutor(20) as pool:
        n_answered = sum(pool.map(limits.ask, [address] * 200))
    peak = psutil.Process().memory_info().rss / 2**20
    for link in links:
        link.close()
    return "cvd serve: 500 stalled, 200 honest", 700, f"{n_answered} answered, {peak:,.0f} MB", "200, 1,200 MB"


TRIALS: dict[Callable[[float, random.Random], Row], float] = {  # shares of the time
    torture_params: 0.05,
    torture_zoo: 0.05,
    torture_server: 0.05,
    torture_downloads: 0.05,
    torture_memory: 0.1,
    torture_noop: 0.35,
    torture_run: 0.35,
}

if __name__ == "__main__":
    minutes = float(sys.argv[1])
    chosen = [trial for trial in TRIALS if not sys.argv[2:] or trial.__name__.removeprefix("torture_") in sys.argv[2:]]
    print(f"seed {SEED}, {minutes:g} minutes at most", flush=True)
    print("| | tried | came out | goal |\n|---|---:|---|---|", flush=True)
    for trial in chosen:
        row = trial(time.monotonic() + 60 * minutes * TRIALS[trial], random.Random(SEED))
        print(f"| {row[0]} | {row[1]:,} | {row[2]} | {row[3]} |", flush=True)
