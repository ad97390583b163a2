"""A client for the tests of cvd.data.sources.fetch, and what it is served."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback import GOOD, Server, Step

from cvd.data.sources.fetch import Wanted, fetch_file
from cvd.data.sources.patience import Patience
from cvd.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
DATA = np.random.default_rng(1).bytes(300_000)
OTHER = np.random.default_rng(2).bytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PAGE = b"\n <!DOCTYPE html><html><body>Please sign in</body></html>"


class Client:
    """Fetches into a folder of its own, keeps no finished download, and notes the pauses, which it does not make."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pauses: list[float] = []

    def fetch(self, server: Server, *, path: str = "/a.zip", tries: int = 4, **options: Any) -> bytes:
        patience = Patience(tries, read_seconds=0.2, wait=self.pauses.append)
        wanted = Wanted(server.url + path, "data.url it", **options)
        with fetch_file(wanted, state_folder=self.folder, patience=patience) as file:
            data = file.path.read_bytes()
            assert (file.sha256, file.n_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert self.kept == ["", ".json"]
        assert (self.folder / file.sha256).read_bytes() == data
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        return data

    def refuse(self, server: Server, match: str, **options: Any) -> InputError:
        with pytest.raises(InputError, match=match) as caught:
            self.fetch(server, **options)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("data.url it ")
        return caught.value

    @property
    def kept(self) -> list[str]:
        return sorted(path.suffix for path in self.folder.iterdir() if path.suffix != ".lock")


def serve(*steps: Step, always: Step = GOOD, data: bytes = DATA) -> Server:
    return Server({"/a.zip": data}, *steps, always=always)


def frame(data: bytes) -> bytes:
    """A body in chunks, as Transfer-Encoding has them."""
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


CHUNKED = {"Content-Length": None, "Transfer-Encoding": "chunked"}
NO_LENGTH = {"Content-Length": None}
