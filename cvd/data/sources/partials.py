"""Downloads on the disk: partial ones, which a later process resumes, and finished ones, kept by their hash."""

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cvd.runtime.errors import InputError
from cvd.runtime.files import hash_file, read_json, replace_file, write_json
from cvd.runtime.locks import hold_lock

_BLOCK_BYTES = 256 * 2**10


class UnfinishedError(InputError):
    """A download cannot go on for now; what has come so far is good and stays."""


@dataclass(frozen=True)
class Version:
    """What a server said of the file when its first byte came: this identifies it."""

    etag: str  # the ETag header, "" without
    modified: str  # the Last-Modified header, "" without
    n_bytes: int | None  # of the whole file; None when the server did not say
    encoding: str  # of the bytes that come, as `gzip`; "" for the file as it is

    @property
    def validator(self) -> str:
        """The value for If-Range (RFC 9110, 13.1.5): no weak ETag, which two different files can share."""
        return self.modified if self.etag.startswith("W/") else self.etag or self.modified


class Partial:
    """The bytes of an address that are here, and a note of their version and, once whole, their hash."""

    def __init__(self, path: Path, note: Path) -> None:
        self.path = path
        self._note = note

    @property
    def n_bytes(self) -> int:
        """How many bytes are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> Version | None:
        """The version of the bytes here; None when there are none, or nobody knows."""
        try:
            return Version(**self._read_note()["version"])
        except (KeyError, TypeError):
            return None

    def start(self, version: Version, address: str) -> None:
        """Drop what is here and start from byte 0. The note's `address` holds no secrets."""
        self.remove()
        write_json({"address": address, "version": asdict(version)}, self._note)

    def unzip(self, limit: int) -> bool:
        """Undo a gzip encoding; False, and nothing changed, when it is none or gives more than `limit` bytes."""
        decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        n_bytes = 0
        try:
            with replace_file(self.path) as partial, self.path.open("rb") as source, partial.open("wb") as target:
                while not decoder.eof:
                    packed = decoder.unconsumed_tail or source.read(_BLOCK_BYTES)
                    if not packed:
                        raise EOFError
                    block = decoder.decompress(packed, _BLOCK_BYTES)
                    n_bytes += len(block)
                    if n_bytes > limit:
                        raise EOFError
                    target.write(block)
        except (zlib.error, EOFError):
            return False
        return True

    def keep(self, sha256: str) -> None:
        """Keep the finished download under its hash. A killed process leaves it finished or partial."""
        write_json(self._read_note() | {"sha256": sha256}, self._note)
        self.path.replace(self.path.with_name(sha256))

    def find_finished(self, sha256: str | None) -> Path | None:
        """Find and verify a finished download by its hash (None: this address' last one); remove a damaged one."""
        sha256 = sha256 or str(self._read_note().get("sha256", ""))
        if not sha256:
            return None
        path = self.path.with_name(sha256)
        if path.is_file() and hash_file(path) == sha256:
            return path
        path.unlink(missing_ok=True)
        return None

    def remove(self) -> None:
        """Remove the partial download and its note."""
        self.path.unlink(missing_ok=True)  # first, so that a note never speaks of other bytes than its own
        self._note.unlink(missing_ok=True)

    def _read_note(self) -> dict[str, Any]:
        try:
            return dict(read_json(self._note))
        except (OSError, ValueError, TypeError):
            return {}


@contextmanager
def open_partial(folder: Path, url: str) -> Iterator[Partial]:
    """Hold an address's download in `folder` for this process; another that wants the same one waits.

    After an InputError, the bytes are removed. They stay after an UnfinishedError, Ctrl-C, `kill` and system errors.
    Of the `url`, only a hash is written.
    """
    key = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()[:16]
    with hold_lock(folder / f"{key}.lock", _tell_wait):
        partial = Partial(folder / f"{key}.part", folder / f"{key}.json")
        try:
            yield partial
        except UnfinishedError:
            raise
        except (KeyboardInterrupt, OSError):
            if advice := describe_rest(partial):
                print(advice, flush=True)
            raise
        except Exception:
            partial.remove()
            raise


def describe_rest(partial: Partial) -> str:
    """Say what has come and how to resume; "" where nothing has."""
    n_bytes = partial.n_bytes
    return f"the {n_bytes / 1e6:,.1f} MB that have come are kept: run again to go on" if n_bytes else ""


def _tell_wait() -> None:
    print("another process is downloading the same: waiting for it to end", flush=True)
