"""One file from the net, whole or not at all: resumed, retried, checked, kept by its hash."""

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

import requests
import urllib3
from tqdm import tqdm

from cvd.data.sources import replies
from cvd.data.sources.partials import Partial, UnfinishedError, Version, describe_rest, open_partial
from cvd.data.sources.patience import Pace, Patience, SlowError, call_within, check_endless, check_room, hang_up
from cvd.data.sources.replies import PassingError
from cvd.runtime.errors import InputError
from cvd.runtime.files import hash_file

MAX_BYTES = 64 * 2**30  # of a file of unknown size; all of Kaggle's photos have 0.9 GB
_BLOCK_BYTES = 256 * 2**10
_MAX_PAUSE_SECONDS = 60


@dataclass(frozen=True)
class Wanted:
    """What is to be fetched."""

    url: str  # http or https
    name: str  # its name in messages; without secrets
    sha256: str | None = None  # 64 lower-case hexadecimal digits; None: any
    n_bytes: int | None = None  # its size; None: any
    locate: Callable[[], str] | None = None  # finds where the file is at the moment, for each try; None: at `url`
    # (status, the server's message) -> what to do about a refusal, or ""
    explain: Callable[[int, str], str] = lambda status, message: ""


@dataclass(frozen=True)
class Fetched:
    """A whole file, its hash and size. It is the download's: link or copy it."""

    path: Path
    sha256: str
    n_bytes: int


@contextmanager
def fetch_file(wanted: Wanted, *, state_folder: Path, patience: Patience | None = None) -> Iterator[Fetched]:
    """Yield a file: the finished download in `state_folder`, verified by its hash, or else a new one.

    A kept file is used without asking the server. A pinned hash finds it whatever its address was. The same call, also
    in a later process, resumes a partial download (Range and If-Range, RFC 9110, 13.1.5 and 14.2). A file is kept once
    the context ends well; an InputError inside the context removes it.

    Raises:
        UnfinishedError: the server cannot be reached, or refuses; what has come is kept.
        InputError: the file is gone, is a web page, or has another hash or size than wanted; nothing is kept.
        OSError: the disk is full; what has come is kept.
    """
    with open_partial(state_folder, wanted.url) as partial:
        if file := _find_finished(wanted, partial):
            yield file
            return
        with requests.Session() as session:
            download = _Download(wanted, partial, patience or Patience(), session)
            download.run()
            try:
                file = _check(wanted, partial)
            except InputError:
                if not download.is_resumed:
                    raise
                print(f"{wanted.name} was sent in parts that do not fit; from the start again", file=sys.stderr)
                partial.remove()
                download.run()
                file = _check(wanted, partial)
        yield file
        partial.keep(file.sha256)


class _Download:
    """The way from an address to a whole partial file."""

    def __init__(self, wanted: Wanted, partial: Partial, patience: Patience, session: requests.Session) -> None:
        self._wanted, self._partial, self._patience, self._session = wanted, partial, patience, session
        self._farthest = partial.n_bytes  # the most bytes that were ever here
        self._end = time.monotonic() + patience.total_seconds
        self.is_resumed = False  # whether the file here came in several replies

    def run(self) -> None:
        """Try until the file is here, or too many tries in a row have brought nothing new."""
        n_failed, idle_since = 0, time.monotonic()
        begun = idle_since  # of a try, its pause included: a hundred bytes a try are no progress
        while True:
            before = self._farthest
            try:
                return self._try_once()
            except PassingError as error:
                now = time.monotonic()
                n_new, n_least = self._farthest - before, self._patience.least_rate * (now - begun)
                if n_new and n_new >= n_least and not isinstance(error, SlowError):
                    n_failed, idle_since = 0, now
                begun = now
                n_failed += 1
                is_idle = n_failed > 1 and time.monotonic() - idle_since > self._patience.idle_seconds
                if n_failed >= self._patience.tries or is_idle:
                    failure = f"{self._wanted.name} cannot be fetched: {error}, {n_failed} times in a row"
                    raise UnfinishedError(f"{failure}; {describe_rest(self._partial) or 'try again later'}") from error
                pause = min(_MAX_PAUSE_SECONDS, 2 ** (n_failed - 1)) * random.uniform(0.5, 1)
                pause = max(pause, error.pause_seconds)
                print(f"{error}; trying again in {pause:.1f} s", file=sys.stderr, flush=True)
                self._patience.wait(pause)

    def _try_once(self) -> None:
        offset = self._find_offset()
        headers = {"Accept-Encoding": "identity"}
        version = self._partial.version
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if version and version.validator:
                headers["If-Range"] = version.validator
        with self._ask(headers) as reply:
            if offset and version and reply.status_code == 416:
                if replies.is_whole(reply, version, offset):
                    return
                self._partial.remove()
                raise PassingError(f"the server has nothing after byte {offset:,}, so from the start again")
            if offset and version and reply.status_code == 206:
                self.is_resumed = True
                if fault := replies.find_range_fault(reply, version, offset):
                    self._partial.remove()
                    raise PassingError(f"{fault}, so from the start again")
            elif reply.status_code == 200:
                offset, version, self.is_resumed = 0, replies.read_version(reply), False
            else:
                replies.refuse(reply, self._wanted.name, self._wanted.explain)
            self._receive(reply, version, offset)

    def _find_offset(self) -> int:
        """Find the byte to resume from: above 0 only where both parts surely are of one file."""
        version = self._partial.version
        if version and not version.encoding and (version.validator or self._wanted.sha256):
            return self._partial.n_bytes
        self._partial.remove()
        return 0

    def _ask(self, headers: dict[str, str]) -> requests.Response:
        times = (self._patience.connect_seconds, self._patience.read_seconds)

        def ask() -> requests.Response:
            url = self._wanted.locate() if self._wanted.locate else self._wanted.url
            return self._session.get(url, headers=headers, stream=True, timeout=times)

        try:
            return call_within(sum(times), ask)
        except InputError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise replies.judge_failure(error, self._wanted.name) from error

    def _receive(self, reply: requests.Response, version: Version, offset: int) -> None:
        total = version.n_bytes if version.n_bytes is not None or version.encoding else self._wanted.n_bytes
        limit = MAX_BYTES if total is None else total
        block = self._read(reply)
        if offset == 0:
            if replies.is_web_page(reply, block):
                raise InputError(f"{self._wanted.name} {replies.WEB_PAGE}")
            self._check_size(version)
            self._partial.start(version, replies.strip_secrets(self._wanted.url))
        check_room(self._wanted.name, (total or 0) - offset, self._partial)
        bar = tqdm(desc="download", total=total, initial=offset, unit="B", disable=None, unit_scale=True)
        pace = Pace(self._patience, offset, self._end)
        with bar, self._partial.path.open("ab") as file:
            while block:
                offset += len(block)
                if offset > limit:
                    self._refuse_surplus(limit)
                if total is None:
                    check_endless(self._wanted.name, self._partial)
                self._write(file, block)
                self._farthest = max(self._farthest, offset)
                bar.update(len(block))
                pace.check(offset)
                block = self._read(reply)
        if total is not None and offset < total:
            raise PassingError(f"the download broke off at {offset / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    def _refuse_surplus(self, limit: int) -> NoReturn:
        if self.is_resumed:
            self._partial.remove()
            raise PassingError("the server sends more than the rest that it was asked for, so from the start again")
        raise InputError(f"{self._wanted.name} sends more than the {limit:,} bytes that it should have")

    def _read(self, reply: requests.Response) -> bytes:
        def read() -> bytes:
            # As it comes: what was read before a break counts. Undecoded: a .tgz may be declared as gzip of a .tar.
            return reply.raw.read1(_BLOCK_BYTES, decode_content=False) or b""

        try:
            block = call_within(2 * self._patience.read_seconds, read, on_timeout=lambda: hang_up(reply))
        except urllib3.exceptions.HTTPError as error:
            raise replies.judge_failure(error, self._wanted.name) from error
        return block

    def _write(self, file: BinaryIO, block: bytes) -> None:
        try:
            file.write(block)
            file.flush()  # `kill -9` takes nothing of what came
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._partial.path)) from error

    def _check_size(self, version: Version) -> None:
        n_bytes = self._wanted.n_bytes
        if n_bytes is not None and not version.encoding and version.n_bytes not in (None, n_bytes):
            raise InputError(f"{self._wanted.name} has {version.n_bytes:,} bytes, not {n_bytes:,}: {replies.NOT_KEPT}")


def _find_finished(wanted: Wanted, partial: Partial) -> Fetched | None:
    path = partial.find_finished(wanted.sha256)
    if path is None or wanted.n_bytes not in (None, path.stat().st_size):
        return None
    n_bytes = path.stat().st_size
    origin = f"{n_bytes / 1e6:,.1f} MB from an earlier download, kept in {path.parent}"
    print(f"{wanted.name}: {origin}; delete that folder to download again", flush=True)
    return Fetched(path, path.name, n_bytes)


def _check(wanted: Wanted, partial: Partial) -> Fetched:
    """Check hash and size of what has come."""
    sha256 = hash_file(partial.path)
    version = partial.version
    if version and version.encoding and sha256 != wanted.sha256 and partial.unzip(wanted.n_bytes or MAX_BYTES):
        sha256 = hash_file(partial.path)
    if wanted.n_bytes is not None and partial.n_bytes != wanted.n_bytes:
        raise InputError(f"{wanted.name} has {partial.n_bytes:,} bytes, not {wanted.n_bytes:,}: {replies.NOT_KEPT}")
    if wanted.sha256 is not None and sha256 != wanted.sha256:
        raise InputError(f"{wanted.name} has sha256 {sha256}, not {wanted.sha256}: {replies.NOT_KEPT}")
    return Fetched(partial.path, sha256, partial.n_bytes)
