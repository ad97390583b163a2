"""What a training's result follows from, as digests: the same key gives the same bits."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from cvd.runtime.files import digest_files

ROOT = Path(__file__).parents[2]
# The code that dvc.yaml's stage `train` depends on, besides its script.
CODE = (
    "cvd/data/augmentation",
    "cvd/data/examples",
    "cvd/data/images",
    "cvd/machine",
    "cvd/models/networks",
    "cvd/models/scratch",
    "cvd/training",
)
LIBRARIES = ("keras", "numpy", "opencv-python-headless", "tensorflow")


def make_key(configuration: Mapping[str, object], *, script: Path) -> str:
    """Digest parameters and digests of data, the code of `script` and of CODE, and the versions of LIBRARIES."""
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


def digest_arrays(arrays: Iterable[np.ndarray]) -> str:
    """Compute sha256, in hex, of arrays' bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
