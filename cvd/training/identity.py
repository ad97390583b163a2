"""What a training's result follows from, as digests: the same key gives the same bits."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from cvd.runtime.files import hash_file

ROOT = Path(__file__).parents[2]
# The code that dvc.yaml's stage `train` depends on, besides its script.
CODE = (
    *("cvd/data/examples", "cvd/data/images", "cvd/machine", "cvd/models/networks", "cvd/models/scratch"),
    "cvd/training",
)
LIBRARIES = ("keras", "numpy", "opencv-python-headless", "tensorflow")


def make_key(configuration: Mapping[str, object], *, script: Path) -> str:
    """Digest all that a training's result follows from.

    Args:
        configuration: nested plain values: parameters, digests of the data.
        script: whose code counts, beside CODE and the versions of LIBRARIES.
    """
    code = digest_files([script, *(ROOT / folder for folder in CODE)], "*.py")
    versions = {name: version(name) for name in LIBRARIES}
    whole = {"code": code, "versions": versions, "configuration": configuration}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def digest_inputs(variant: Mapping[str, Any], *, manifest: Path, reads: Path, network: Path) -> dict[str, str]:
    """Digest what a variant reads, by name. Image files are not read: the manifest holds their digests."""
    digests = {"manifest": digest_files([manifest])}
    if variant["input"] != "files":
        digests[variant["input"]] = digest_files([reads])
    if variant["network"] == "backbone":
        digests["backbone"] = digest_files([network])
    return digests


def digest_files(paths: Iterable[Path], pattern: str = "*") -> str:
    """sha256, in hex, of names and contents of files, and of the files in folders that match `pattern`."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob(pattern)) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"{file.relative_to(path.parent).as_posix()} {hash_file(file)}\n".encode())
    return digest.hexdigest()


def digest_arrays(arrays: Iterable[np.ndarray]) -> str:
    """sha256, in hex, of arrays' bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
