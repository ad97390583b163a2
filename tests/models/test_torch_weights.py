"""The reader of PyTorch's old format, against files written by hand from the format's description."""

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvd.models.pretrained.torch_weights import read_torch_weights
from cvd.runtime.errors import InputError

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Global:
    """Pickled as a bare name of a module that need not exist."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickled as a function's call."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.function, self.arguments, self.state = function, arguments, state


class Persistent:
    def __init__(self, pid: tuple[object, ...]) -> None:
        self.pid = pid


PythonPickler: Any = vars(pickle)["_Pickler"]  # Python's own, whose dispatch can be extended


class Writer(PythonPickler):
    def persistent_id(self, value: object) -> object:
        return value.pid if isinstance(value, Persistent) else None

    def save_name(self, value: Global) -> None:
        self.write(b"c" + f"{value.module}\n{value.name}\n".encode())

    def save_call(self, value: Call) -> None:
        self.save(value.function)
        self.save(value.arguments)
        self.write(b"R")
        if value.state is not None:
            self.save(value.state)
            self.write(b"b")


Writer.dispatch = {**PythonPickler.dispatch, Global: Writer.save_name, Call: Writer.save_call}


def storage(key: str, n_values: int, *, kind: str = "FloatStorage") -> Persistent:
    return Persistent(("storage", Global("torch", kind), key, "cpu", n_values, None))


def tensor(values: object, shape: tuple[int, ...], strides: tuple[int, ...], *, offset: int = 0) -> Call:
    hooks = Call(Global("collections", "OrderedDict"))
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), values, offset, shape, strides, False, hooks)


HEAD = (MAGIC, PROTOCOL, MACHINE)


def write(path: Path, state: object, storages: dict[str, np.ndarray], *, head: tuple[object, ...] = HEAD) -> Path:
    with path.open("wb") as file:
        for value in (*head, state, list(storages)):
            Writer(file, protocol=2).dump(value)
        for values in storages.values():
            file.write(struct.pack("<q", values.size) + values.tobytes())
    return path


VALUES = np.arange(24, dtype="<f4")


def refuse(path: Path, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read_torch_weights(path)
    message = str(caught.value)
    assert reason in message
    assert str(path) in message
    assert "\n" not in message


def test_tensors_come_back_with_shape_stride_and_offset(tmp_path: Path) -> None:
    state = OrderedDict(
        plain=tensor(storage("1", 24), (4, 6), (6, 1)),
        turned=tensor(storage("1", 24), (6, 4), (1, 6)),
        part=tensor(storage("1", 24), (2, 3), (6, 1), offset=8),
        scalar=tensor(storage("2", 1, kind="LongStorage"), (), ()),
        empty=tensor(storage("1", 24), (0, 3), (3, 1)),
    )
    tensors = read_torch_weights(write(tmp_path / "w.pth", state, {"1": VALUES, "2": np.array([7], "<i8")}))
    plain = VALUES.reshape(4, 6)
    assert list(tensors) == list(state)
    np.testing.assert_array_equal(tensors["plain"], plain)
    np.testing.assert_array_equal(tensors["turned"], plain.T)
    np.testing.assert_array_equal(tensors["part"], plain[1:3, 2:5])
    assert tensors["scalar"].shape == ()
    assert tensors["scalar"] == 7
    assert tensors["empty"].shape == (0, 3)
    assert tensors["plain"].dtype == np.float32
    tensors["plain"][0, 0] = 99
    assert tensors["turned"][0, 0] == 0


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("collections", "namedtuple"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch", "HalfStorage"),
        ("cvd.models.pretrained.torch_weights", "open"),
        ("collections", "OrderedDict.fromkeys"),
    ],
)
def test_other_names_are_refused_before_they_run(module: str, name: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    hostile = Call(Global(module, name), f"touch {ran}")
    refuse(write(tmp_path / "w.pth", OrderedDict(a=hostile), {}), f"it asks for {module}.{name}")
    assert not ran.exists()


def test_names_are_refused_in_every_pickle_of_the_file(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    hostile = Call(Global("os", "system"), f"touch {ran}")
    refuse(write(tmp_path / "1.pth", OrderedDict(), {}, head=(hostile,)), "does not start with PyTorch's magic number")
    refuse(write(tmp_path / "2.pth", OrderedDict(), {}, head=(MAGIC, hostile)), "it asks for os.system")
    refuse(write(tmp_path / "3.pth", OrderedDict(), {}, head=(MAGIC, PROTOCOL, hostile)), "it asks for os.system")
    allowed = Call(Global("collections", "OrderedDict"))
    refuse(
        write(tmp_path / "4.pth", OrderedDict(), {}, head=(MAGIC, PROTOCOL, allowed)), "asks for collections.Ordered"
    )
    assert not ran.exists()


def test_a_plain_hostile_pickle_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pth"
        path.write_bytes(pickle.dumps(Hostile(), protocol=protocol))
        refuse(path, "it does not start with PyTorch's magic number")
    assert not (tmp_path / "ran").exists()


def test_what_is_built_cannot_be_changed_by_the_file(tmp_path: Path) -> None:
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    changed = Call(rebuild, storage("1", 24), 0, (2,), (1,), False, None, state={"offset": 3})
    refuse(write(tmp_path / "w.pth", OrderedDict(a=changed), {"1": VALUES}), "damaged or cut short")
    # An attribute `items` on the dict does not hide what it holds.
    entries = [["a", tensor(storage("1", 24), (2,), (1,))]]
    hiding = Call(Global("collections", "OrderedDict"), entries, state={"items": 1})
    assert list(read_torch_weights(write(tmp_path / "h.pth", hiding, {"1": VALUES}))) == ["a"]


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((5, 6), (6, 1), 0),
        ((4, 6), (6, 1), 1),
        ((2,), (24,), 0),
        ((10**9, 10**9), (0, 0), 0),
        ((4,), (-1,), 4),
        ((2, 2), (1,), 0),
    ],
)
def test_tensors_beyond_their_storage_are_refused(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int, tmp_path: Path
) -> None:
    state = OrderedDict(a=tensor(storage("1", 24), shape, strides, offset=offset))
    refuse(write(tmp_path / "w.pth", state, {"1": VALUES}), "tensor 'a'")


def test_damaged_files_are_refused_wherever_they_end(tmp_path: Path) -> None:
    state = OrderedDict(a=tensor(storage("1", 24), (24,), (1,)))
    whole = write(tmp_path / "w.pth", state, {"1": VALUES}).read_bytes()
    for length in range(len(whole)):
        path = tmp_path / "cut.pth"
        path.write_bytes(whole[:length])
        refuse(path, "are refused")
    (tmp_path / "long.pth").write_bytes(whole + b"x")
    refuse(tmp_path / "long.pth", "data follow the last storage")


def test_wrong_contents_are_named(tmp_path: Path) -> None:
    good = OrderedDict(a=tensor(storage("1", 24), (24,), (1,)))
    refuse(write(tmp_path / "a.pth", good, {"1": VALUES[:5]}), "holds 5 values, announced as 24")
    refuse(write(tmp_path / "b.pth", good, {"other": VALUES}), "storage 'other' belongs to no tensor")
    refuse(write(tmp_path / "c.pth", good, {}), "the storage of tensor 'a' is absent")
    refuse(write(tmp_path / "d.pth", [1, 2], {}), "it holds a list, not a state dict")
    refuse(write(tmp_path / "e.pth", {"a": 3}, {}), "its entry 'a' is not a tensor")
    refuse(write(tmp_path / "f.pth", {"a": tensor("text", (1,), (1,))}, {}), "the storage of tensor 'a' is absent")
    refuse(write(tmp_path / "g.pth", good, {"1": VALUES}, head=(MAGIC, 1000, MACHINE)), "its protocol is 1000")
    big = {**MACHINE, "little_endian": False}
    refuse(write(tmp_path / "h.pth", good, {"1": VALUES}, head=(MAGIC, PROTOCOL, big)), "not little-endian")
    view = Persistent(("storage", Global("torch", "FloatStorage"), "1", "cpu", 24, ("2", 0, 3)))
    refuse(write(tmp_path / "i.pth", {"a": tensor(view, (1,), (1,))}, {"1": VALUES}), "of an unknown kind")


def test_the_newer_format_and_absent_files_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "new.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    refuse(tmp_path / "new.pth", "it is in PyTorch's newer zip format")
    with pytest.raises(InputError, match=r"cannot read weights .*absent\.pth: No such file"):
        read_torch_weights(tmp_path / "absent.pth")
