"""Downloads that are under way: kept on the disk, so that a later process goes on where an earlier one was stopped."""

import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cvd.runtime.errors import InputError
from cvd.runtime.files import replace_file
from cvd.runtime.locks import hold_lock

_BLOCK_BYTES = 256 * 2**10


class UnfinishedError(InputError):
    """A download cannot go on for now; what has come so far is good and stays."""


@dataclass(frozen=True)
class Version:
    """What a server said of the file when its first byte came: by this it is known again.

    Attributes:
        etag: the ETag header, "" without.
        modified: the Last-Modified header, "" without.
        n_bytes: of the whole file; None when the server did not say.
        encoding: of the bytes that come, as `gzip`; "" for the file as it is.
    """

    etag: str
    modified: str
    n_bytes: int | None
    encoding: str

    @property
    def validator(self) -> str:
        """What If-Range may say (RFC 9110, 13.1.5): no weak ETag, which two different files can share."""
        return self.modified if self.etag.startswith("W/") else self.etag or self.modified


class Partial:
    """The bytes of an address that are here already, and which version of it they are of."""

    def __init__(self, path: Path, note: Path) -> None:
        self.path = path
        self._note = note

    @property
    def n_bytes(self) -> int:
        """How many bytes are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> Version | None:
        """Of what; None when there is nothing, or nobody knows."""
        try:
            return Version(**json.loads(self._note.read_text(encoding="utf-8"))["version"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def start(self, version: Version, address: str) -> None:
        """Drops what is here and starts anew. `address` is noted for people, and so holds no secrets."""
        self.remove()
        with replace_file(self._note) as partial:
            partial.write_text(json.dumps({"address": address, "version": asdict(version)}), encoding="utf-8")

    def unzip(self, limit: int) -> bool:
        """Undoes a gzip encoding; False, and nothing changed, when it is none or gives more than `limit` bytes."""
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

    def remove(self) -> None:
        """Leaves nothing."""
        self.path.unlink(missing_ok=True)  # first, so that a note never speaks of other bytes than its own
        self._note.unlink(missing_ok=True)


@contextmanager
def open_partial(folder: Path, url: str) -> Iterator[Partial]:
    """Holds an address's partial download for this process; another that wants the same one waits.

    It goes at the end and after an InputError, which says that its bytes are not wanted; it stays after an
    UnfinishedError, Ctrl-C, `kill` and errors of the system, such as a full disk.

    Args:
        folder: holds all of them; made when missing.
        url: in full; only its hash is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()[:16]
    lock = hold_lock(
        folder / f"{key}.lock",
        lambda: print("another process is downloading the same: waiting for it to end", flush=True),
    )
    with lock:
        partial = Partial(folder / f"{key}.part", folder / f"{key}.json")
        try:
            yield partial
        except UnfinishedError:
            raise
        except (KeyboardInterrupt, OSError):
            if partial.n_bytes:
                print(f"the {partial.n_bytes / 1e6:,.1f} MB that have come are kept: run again to go on", flush=True)
            raise
        except Exception:
            partial.remove()
            raise
        partial.remove()


def _tell_wait() -> None:
    print("another process is downloading the same: waiting for it to end", flush=True)
