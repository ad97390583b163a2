"""cvd.data.archives.reading and cvd.data.sources.packing."""

import io
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from photo_samples import write_zip

from cvd.data.archives import reading as archives
from cvd.data.archives.formats import RefusedError
from cvd.data.archives.layouts import Layout
from cvd.data.archives.reading import UnreadableError, open_archive
from cvd.data.sources import packing
from cvd.runtime.errors import InputError


def list_names(path: Path) -> list[str]:
    with open_archive(path) as members:
        return [member.name for member in members]


def test_members_without_folders(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"x/": b"", "x/a.jpg": b"A" * 100, "b.jpg": b"B"}, zipfile.ZIP_DEFLATED)
    with open_archive(path) as members:
        assert [(each.name, each.n_bytes, each.unsafe, each.read(50)) for each in members] == [
            ("x/a.jpg", 100, "", b"A" * 50),
            ("b.jpg", 1, "", b"B"),
        ]


def test_names_are_tame_and_unique(tmp_path: Path) -> None:
    names = ("a\nb.jpg", "cat\\1.jpg", "same.jpg", "twin.jpg", "Same.jpg")
    path = write_zip(tmp_path / "a.zip", dict.fromkeys(names, b""))
    path.write_bytes(path.read_bytes().replace(b"twin", b"same"))
    assert list_names(path) == ["a\\nb.jpg", "cat/1.jpg", "same.jpg", "same.jpg#2", "Same.jpg"]


@pytest.mark.parametrize(
    "name", ["../cat.1.jpg", "/etc/cat.1.jpg", "a/../../cat.1.jpg", "..\\cat.1.jpg", "C:\\cat.1.jpg"]
)
def test_names_that_lead_out_are_unsafe(tmp_path: Path, name: str) -> None:
    with open_archive(write_zip(tmp_path / "a.zip", {name: b"x"})) as (member,):
        assert "leads out" in member.unsafe


def test_links_and_devices_are_unsafe(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, kind in (("link", stat.S_IFLNK), ("pipe", stat.S_IFIFO)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (kind | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    with open_archive(tmp_path / "a.zip") as members:
        assert [bool(member.unsafe) for member in members] == [True, True]


def test_zip_in_zip_is_opened_once(tmp_path: Path) -> None:
    deep = write_zip(tmp_path / "deep.zip", {"cat.9.jpg": b"9"}).read_bytes()
    train = write_zip(tmp_path / "t.zip", {"train/": b"", "train/cat.0.jpg": b"0", "deep.zip": deep}).read_bytes()
    outer = write_zip(tmp_path / "o.zip", {"train.zip": train, "bad.zip": b"PK nothing"}, zipfile.ZIP_DEFLATED)
    with open_archive(outer) as members:
        assert [member.name for member in members] == ["train.zip/train/cat.0.jpg", "train.zip/deep.zip", "bad.zip"]
        assert members[0].read(9) == b"0"


def test_too_many_zips_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_NESTED", 3)
    inner = write_zip(tmp_path / "i.zip", {"cat.0.jpg": b"0"}).read_bytes()
    assert len(list_names(write_zip(tmp_path / "o.zip", {f"{i}.zip": inner for i in range(3)}))) == 3
    with pytest.raises(InputError, match="more than 3 zips"):
        list_names(write_zip(tmp_path / "o.zip", {f"{i}.zip": inner for i in range(4)}))


def test_folder_with_bytes_is_a_file(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"cats/": b"", "cats/1.jpg/": b"1"})
    with open_archive(path) as (member,):
        assert (member.name, member.read(9)) == ("cats/1.jpg/", b"1")


def test_packed_bomb_is_not_opened(tmp_path: Path) -> None:
    bomb = write_zip(tmp_path / "b.zip", {"cat.0.jpg": b"\0" * 10_000_000}).read_bytes()
    outer = write_zip(tmp_path / "o.zip", {"train.zip": bomb}, zipfile.ZIP_DEFLATED)
    assert list_names(outer) == ["train.zip"]


def test_a_member_gives_no_more_than_asked_or_declared(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"cat.0.jpg": b"\0" * 1_000_000}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)  # declares 10 bytes
    path.write_bytes(data)
    with open_archive(path) as (member,), pytest.raises(UnreadableError):
        member.read(10**9)


def test_broken_bytes_are_unreadable(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"cat.0.jpg": bytes(range(256)) * 9})
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with open_archive(path) as (member,), pytest.raises(UnreadableError, match="CRC"):
        member.read(10**9)


def test_what_is_no_zip(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "a.zip", {f"{i}.jpg": b"x" * 99 for i in range(9)}).read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2], b"PK\x05\x06" + b"\xff" * 18):
        (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(InputError, match=r"b\.zip is not a readable zip archive"), open_archive(tmp_path / "b.zip"):
            pass
    with pytest.raises(InputError, match="No such file"), open_archive(tmp_path / "no.zip"):
        pass


def test_encrypted(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"cat.0.jpg": b"x"})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.zip is encrypted"), open_archive(path):
        pass


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "a.zip", {str(i): b"" for i in range(20)})
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    with pytest.raises(InputError, match="more than 10 members"), open_archive(path):
        pass
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(InputError, match="table of contents"), open_archive(path):
        pass


def test_folder_is_packed_the_same_every_time(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("cats/b.jpg", "cats/a.jpg", "dogs/a.jpg", "z.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "cats" / "link.jpg").symlink_to("/etc/passwd")
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    assert packing.pack_folder(folder, tmp_path / "1.zip") == 7
    os.utime(folder / "z.txt", (1, 1))
    packing.pack_folder(folder, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with open_archive(tmp_path / "1.zip") as members:
        safe = [(member.name, member.read(99)) for member in members if not member.unsafe]
        assert safe == [(n, n.encode()) for n in ("z.txt", "cats/a.jpg", "cats/b.jpg", "dogs/a.jpg")]
        assert sorted(member.name for member in members if member.unsafe) == ["cats/link.jpg", "out", "pipe"]


def test_links_within_a_folder_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("all", "cats"):
        (folder / name).mkdir(parents=True)
    (folder / "all/1.jpg").write_bytes(b"x")
    (tmp_path / "2.jpg").write_bytes(b"y")
    for name, target in (
        ("1", "../all/1.jpg"),
        ("2", "../../2.jpg"),
        ("3", "3.jpg"),
        ("4", "nowhere"),
        ("5", "../all"),
    ):
        (folder / f"cats/{name}.jpg").symlink_to(target)
    packing.pack_folder(folder, tmp_path / "1.zip")
    with open_archive(tmp_path / "1.zip") as members:
        found = {member.name: member.unsafe or member.read(9) for member in members}
    links = {f"cats/{n}.jpg": "a link" for n in (2, 3, 4, 5)}
    assert found == {"all/1.jpg": b"x", "cats/1.jpg": b"x"} | links


def test_names_are_no_formulas_and_no_escapes(tmp_path: Path) -> None:
    names = ["=cmd|' /C calc'!A0.jpg", "+cats/1.jpg", "-1.jpg", "@x.jpg", "a\x1b[31m\n.jpg", "\u202egpj.tac"]
    with open_archive(write_zip(tmp_path / "a.zip", dict.fromkeys(names, b"x"))) as members:
        found = [member.name for member in members]
    assert found == ["'=cmd|' /C calc'!A0.jpg", "'+cats/1.jpg", "'-1.jpg", "'@x.jpg", "a\\x1b[31m\\n.jpg",
                     "\\u202egpj.tac"]  # fmt: skip
    assert Layout(("cat", "dog")).find_label(found[1]).label == 0
    refused = RefusedError("damaged", "=1\n cannot read <_io.BytesIO object at 0x7f12ab>\x1b[2J" + "y" * 300)
    assert refused.detail.startswith("'=1 cannot read \\x1b[2Jyyy")
    assert len(refused.detail) == 201
    assert refused.detail.endswith("...")


def test_undecodable_file_name(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    with open(os.fsencode(folder) + b"/cat\xff\n.jpg", "wb") as file:  # noqa: PTH123
        file.write(b"x")
    packing.pack_folder(folder, tmp_path / "1.zip")
    assert list_names(tmp_path / "1.zip") == ["cat/udcff/n.jpg"]


def test_large_files_are_cut_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_MEMBER_BYTES", 100)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.1.jpg").write_bytes(b"x" * 5000)
    packing.pack_folder(tmp_path / "photos", tmp_path / "1.zip")
    with open_archive(tmp_path / "1.zip") as (member,):
        assert member.n_bytes == 101


def write_tar(path: Path, mode: str) -> None:
    with tarfile.open(path, mode) as tar:
        for name, kind in (
            ("train/cat.0.jpg", tarfile.REGTYPE),
            ("train", tarfile.DIRTYPE),
            ("../dog.0.jpg", tarfile.REGTYPE),
            ("link.jpg", tarfile.SYMTYPE),
            ("hard.jpg", tarfile.LNKTYPE),
            ("device", tarfile.CHRTYPE),
            ("train/cat.0.jpg", tarfile.REGTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "train/cat.0.jpg"
            info.size = 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"abc"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_is_repacked(tmp_path: Path, mode: str) -> None:
    write_tar(tmp_path / "a.tar", mode)
    assert packing.repack_tar(tmp_path / "a.tar", tmp_path / "a.zip") == 6
    with open_archive(tmp_path / "a.zip") as members:
        found = {member.name: member.unsafe or member.read(9) for member in members}
    assert found == {
        "train/cat.0.jpg": b"abc",
        "../dog.0.jpg": "its name leads out of the archive",
        "link.jpg": "a link",
        "hard.jpg": "a link",
        "device": "a device, pipe or folder",
        "train/cat.0.jpg#2": b"abc",
    }


def test_tar_that_ends_or_breaks_between_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, "w")
    whole = path.read_bytes()
    at = whole.index(b"../dog.0.jpg")
    damaged = whole[: at + 150] + b"\x99" + whole[at + 151 :]
    no_end = whole.rstrip(b"\0")
    for data in (whole[:at], whole[: at + 100], damaged, no_end + bytes(-len(no_end) % 512)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"is not a readable tar archive.*damaged or cut off"):
            packing.repack_tar(path, tmp_path / "a.zip")


def test_tar_bombs_of_headers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tarfile.TarInfo("note")
    note.type, note.size = tarfile.XHDTYPE, 2**30
    (tmp_path / "note.tar").write_bytes(note.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    with pytest.raises(InputError, match="a name or note of"):
        packing.repack_tar(tmp_path / "note.tar", tmp_path / "a.zip")
    monkeypatch.setattr(packing, "MAX_MEMBERS", 10)
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    (tmp_path / "folders.tar").write_bytes(folder.tobuf() * 20 + bytes(1024))
    with pytest.raises(InputError, match="over 10 members"):
        packing.repack_tar(tmp_path / "folders.tar", tmp_path / "a.zip")


def test_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "closed").mkdir(parents=True)
    listed = os.scandir

    def deny(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(InputError, match=r"cannot read .*closed: Permission denied"):
        packing.pack_folder(tmp_path / "photos", tmp_path / "1.zip")


def test_file_that_goes_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"cannot read .*b\.jpg: No such file"):
        packing.pack_folder(
            tmp_path / "photos",
            tmp_path / "1.zip",
            progress=lambda n: (tmp_path / "photos" / "b.jpg").unlink(missing_ok=True),
        )


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_cut_tar_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, mode) as tar:
        info = tarfile.TarInfo("cat.0.jpg")
        info.size = 100_000
        tar.addfile(info, io.BytesIO(os.urandom(100_000)))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(InputError, match=r"a\.tar is not a readable tar archive"):
        packing.repack_tar(path, tmp_path / "a.zip")


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "t.zip", {"cat.0.jpg": b"0"}).read_bytes()
    outer = write_zip(tmp_path / "o.zip", {"train.zip": inner})
    before = sorted(tmp_path.iterdir())
    assert list_names(outer) == ["train.zip/cat.0.jpg"]
    assert sorted(tmp_path.iterdir()) == before
    assert Path(tempfile.gettempdir()).exists()
