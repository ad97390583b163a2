"""PyTorch's old weights format, read without PyTorch, by an unpickler that admits four names and runs no code.

This is what `torch.save` wrote before version 1.6 (torch/serialization.py, `_legacy_save`). It begins with three
pickles: a magic number, a protocol version, facts on the machine. A pickle of the object follows, in which a tensor
names its storage by a persistent id. A pickled list of the storages' keys is next. Each key then has an int64 count and
that many raw values.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from cvd.runtime.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_ZIP_START = b"PK\x03\x04"
_DTYPES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def read_torch_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Read a state dict saved in PyTorch's old, non-zip format: float32 or int64 tensors by name, in the file's order.

    Raises:
        InputError: the file is missing, of another format, damaged, or holds anything but a state dict.
    """
    try:
        with Path(path).open("rb") as file:
            return _read_state_dict(file, size=Path(path).stat().st_size)
    except OSError as error:
        raise InputError(f"cannot read weights {path}: {error.strerror or error}") from error
    except _RefusedError as refused:
        raise InputError(_explain(path, str(refused))) from None
    except Exception as error:  # a damaged or hostile pickle may raise anything
        raise InputError(_explain(path, f"damaged or cut short ({type(error).__name__}: {error})")) from error


class _RefusedError(Exception):
    """What in the file is not admitted."""


# NamedTuples and an object without a `__dict__`: a pickle's BUILD cannot change them.
class _Storage(NamedTuple):
    key: str
    dtype_name: str
    n_values: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    """Stands in for `torch._utils._rebuild_tensor_v2`."""

    __slots__ = ()

    def __call__(
        self, storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any, *rest: Any
    ) -> _Tensor:
        return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch" and name in _DTYPES:
            return name
        raise _RefusedError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype_name, key, _location, n_values, view = pid
        if kind != "storage" or dtype_name not in _DTYPES or view is not None or not _is_count(n_values):
            raise _RefusedError(f"its storage {pid!r} is of an unknown kind")
        return _Storage(str(key), dtype_name, n_values)


class _PlainUnpickler(_Unpickler):
    """Numbers, texts, lists and dicts only."""

    def find_class(self, module: str, name: str) -> Any:
        raise _RefusedError(f"it asks for {module}.{name}")


def _explain(path: str | Path, reason: str) -> str:
    return (
        f"weights {path} are refused: {' '.join(reason.split())[:200]}; expected a state dict of float32 and int64 "
        "tensors in PyTorch's old format, as torch.save(state_dict, path, _use_new_zipfile_serialization=False) gives"
    )


def _read_state_dict(file: BinaryIO, *, size: int) -> dict[str, np.ndarray]:
    start = file.read(len(_ZIP_START))
    file.seek(0)
    if start == _ZIP_START:
        raise _RefusedError("it is in PyTorch's newer zip format")
    # Looked at before the first pickle is loaded: PROTO 2, LONG1 of ten bytes.
    if start[:3] != b"\x80\x02\x8a" or _PlainUnpickler(file).load() != _MAGIC:
        raise _RefusedError("it does not start with PyTorch's magic number")
    if (protocol := _PlainUnpickler(file).load()) != _PROTOCOL:
        raise _RefusedError(f"its protocol is {protocol!r}, not {_PROTOCOL}")
    if _PlainUnpickler(file).load().get("little_endian") is not True:
        raise _RefusedError("its numbers are not little-endian")
    state = _Unpickler(file).load()
    if not isinstance(state, dict):
        raise _RefusedError(f"it holds a {type(state).__name__}, not a state dict")
    # Through the class: a pickle may give an instance an attribute `items`.
    tensors = dict(OrderedDict.items(state) if isinstance(state, OrderedDict) else state.items())
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _RefusedError(f"its entry {str(name)!r} is not a tensor")
    storages = _read_storages(file, tensors, size=size)
    return {name: _view(name, tensor, storages) for name, tensor in tensors.items()}


def _read_storages(file: BinaryIO, tensors: dict[str, _Tensor], *, size: int) -> dict[str, np.ndarray]:
    """Read the values of every storage that a tensor names, by key."""
    known = {tensor.storage.key: tensor.storage for tensor in tensors.values() if isinstance(tensor.storage, _Storage)}
    storages = {}
    for key in _PlainUnpickler(file).load():
        storage = known.get(key)
        if storage is None:
            raise _RefusedError(f"its storage {key!r} belongs to no tensor")
        n_values = int.from_bytes(file.read(8), "little", signed=True)
        dtype = _DTYPES[storage.dtype_name]
        if n_values != storage.n_values:
            raise _RefusedError(f"its storage {key!r} holds {n_values} values, announced as {storage.n_values}")
        if n_values * dtype.itemsize > size - file.tell():
            raise _RefusedError(f"it is cut short: {n_values} values of storage {key!r} do not fit into what is left")
        storages[key] = np.frombuffer(file.read(n_values * dtype.itemsize), dtype)
    if file.read(1):
        raise _RefusedError("data follow the last storage")
    return storages


def _view(name: str, tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    """Copy a tensor's array out of its storage; refuse what would reach beyond the storage."""
    offset, shape, strides = tensor.offset, tensor.shape, tensor.strides
    values = storages.get(tensor.storage.key) if isinstance(tensor.storage, _Storage) else None
    if values is None:
        raise _RefusedError(f"the storage of tensor {name!r} is absent")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > 16 or not all(_is_count(number) for number in numbers):
        raise _RefusedError(f"tensor {name!r} has shape {shape!r}, strides {strides!r}, offset {offset!r}")
    n_values = int(np.prod(shape, dtype=object))
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if n_values > len(values) or (n_values > 0 and last >= len(values)):
        raise _RefusedError(f"tensor {name!r} of shape {shape!r} reaches beyond its storage of {len(values)} values")
    if n_values == 0:
        return np.zeros(shape, values.dtype)
    steps = tuple(stride * values.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps).copy()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48
