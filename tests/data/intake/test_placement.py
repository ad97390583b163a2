"""cvd.data.intake.placement: a zoo of broken and odd files: none crashes the intake, and none vanishes."""

import csv
import hashlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_samples import encode, make_jpeg, make_members, make_picture, write_zip
from PIL import Image

from cvd.data.archives.reading import open_archive
from cvd.data.images.manifest import COLUMNS, REASONS
from cvd.data.intake.placement import Placement, place_images
from cvd.runtime.errors import InputError


def place(archive: Path, out: Path, **options: Any) -> Placement:
    out.mkdir()
    (out / "images").mkdir()
    sizes = {"classes": ("cat", "dog"), "train": None, "validation": 2, "test": 2, "seed": 1, "threads": 2} | options
    return place_images(archive, out / "images", out / "masks.zip", **sizes)


def list_files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def make_bomb() -> bytes:
    data = bytearray(make_jpeg(1))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">2H", 60_000, 60_000)
    return bytes(data)


def cut_progressive(seed: int) -> bytes:
    """Half of a progressive JPEG with an end marker, as a broken-off download that was "repaired"."""
    data = encode(make_picture(seed), progressive=True)
    return data[: len(data) // 2] + b"\xff\xd9"


def make_zoo() -> dict[str, tuple[bytes, str]]:
    """Member -> its bytes and what must become of it: a quarantine reason, or `normalised` words of the manifest."""
    photo, png = make_jpeg(500), encode(make_picture(501), "PNG")
    return {
        "cats/good.jpg": (make_jpeg(502), ""),
        "cats/no_suffix": (make_jpeg(503), ""),
        "Dogs/UPPER.JPEG": (make_jpeg(504), ""),
        "dogs/progressive.jpg": (encode(make_picture(505), progressive=True), ""),
        "dogs/comment.jpg": (encode(make_picture(506), comment=b"\xff\x00hello"), ""),
        "dogs/turned.jpg": (encode(make_picture(507), exif=make_exif(6)), "orientation"),
        "dogs/mirrored.jpg": (encode(make_picture(508), exif=make_exif(2)), "orientation"),
        "cats/grey.jpg": (encode(make_picture(509).convert("L")), "greyscale"),
        "cats/print.jpg": (encode(make_picture(510).convert("CMYK")), "cmyk"),
        "cats/png.jpg": (encode(make_picture(511), "PNG"), "png"),
        "cats/gif.jpg": (encode(make_picture(512), "GIF"), "gif palette"),
        "cats/bmp.jpg": (encode(make_picture(513), "BMP"), "bmp"),
        "cats/webp.jpg": (encode(make_picture(514), "WEBP"), "webp"),
        "cats/tiff.jpg": (encode(make_picture(515), "TIFF"), "tiff"),
        "cats/glass.png": (encode(make_picture(516).convert("RGBA").resize((50, 40)), "PNG"), "png"),
        "cats/deep.png": (
            encode(Image.fromarray(np.asarray(make_picture(517).convert("L")).astype(np.uint16) * 257), "PNG"),
            "png 16-bit greyscale",
        ),
        "dogs/tail.jpg": (make_jpeg(518) + b"tail", "trimmed"),
        "dogs/open.jpg": (make_jpeg(519)[:-2], "closed"),
        "cats/a\nnew line.jpg": (make_jpeg(520), ""),
        "cats/\u732b.jpg": (make_jpeg(521), ""),
        "cats/GOOD.jpg": (make_jpeg(522), ""),
        "train/cats/good.jpg": (make_jpeg(523), ""),
        "cats/CON.jpg": (make_jpeg(524), ""),
        "cats/'; drop table.jpg": (make_jpeg(525), ""),
        'cats/=1+1,"quoted".jpg': (make_jpeg(526), ""),
        "cats/tiny.jpg": (make_jpeg(527, width=4, height=4), "too_small"),
        "cats/line.jpg": (make_jpeg(528, width=300, height=1), "too_small"),
        "cats/bomb.jpg": (make_bomb(), "too_large"),
        "cats/heavy.jpg": (photo + b"\0" * 40_000_000, "too_large"),
        "cats/empty.jpg": (b"", "empty"),
        "cats/text.jpg": (b"<html>not found</html>", "not_an_image"),
        "cats/zeros.jpg": (b"\0" * 5000, "not_an_image"),
        "cats/start.jpg": (b"\xff\xd8", "not_an_image"),
        "cats/header.jpg": (photo[:40], "truncated"),
        "cats/half.jpg": (photo[: len(photo) // 2], "truncated"),
        "cats/half.png": (png[: len(png) // 2], "truncated"),
        "cats/swapped.jpg": (photo[:2] + b"\xff" + bytes(reversed(photo[3:])), "damaged"),
        "cats/hash.png": (png[:60] + bytes(40) + png[100:], "damaged"),
        "cats/photo.heic": (b"\0\0\0\x20ftypheic" + b"\0" * 99, "unsupported"),
        "cats/drawing.svg": (b"<svg xmlns=''/>", "unsupported"),
        "cats/layers.psd": (b"8BPS" + b"\0" * 99, "unsupported"),
        "cats/film.mp4": (b"\0\0\0\x20ftypisom" + b"\0" * 99, "not_an_image"),
        "README.md": (b"# cats and dogs", "not_an_image"),
        "cats/Thumbs.db": (b"\xd0\xcf\x11\xe0", "not_an_image"),
        ".DS_Store": (b"\0\0\0\1Bud1", "not_an_image"),
        "__MACOSX/cats/._good.jpg": (b"\0\5\x16\7", "not_an_image"),
        "test1/1.jpg": (make_jpeg(529), "no_label"),
        "cats/dog.1.jpg": (make_jpeg(530), "conflicting_label"),
        "cats/the copy of good.jpg": (make_jpeg(502), "duplicate"),
        "cats/same pixels.png": (encode(Image.open(io.BytesIO(make_jpeg(503))), "PNG"), "duplicate"),
        "cats/both.jpg": (make_jpeg(531), "conflicting_label"),
        "dogs/both.jpg": (make_jpeg(531), "conflicting_label"),
        "../../cats/escape.jpg": (make_jpeg(532), "unsafe"),
        "/cats/absolute.jpg": (make_jpeg(533), "unsafe"),
        "C:\\cats\\drive.jpg": (make_jpeg(534), "unsafe"),
        "cats/inner.zip": (b"PK\x03\x04 but no zip", "not_an_image"),
        "cats/blurred.jpg": (cut_progressive(535), "truncated"),
        f"cats/{'9' * 5000}.jpg": (make_jpeg(536), ""),
        f"cats/{'long ' * 60}.jpg": (make_jpeg(537), ""),
        "cats/sensor.tif": (encode(Image.new("I", (40, 40)), "TIFF"), "unsupported"),
        "cats/netpbm.jpg": (encode(make_picture(538), "PPM"), "unsupported"),
        "cats/folder.jpg/": (make_jpeg(539), ""),
    }


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[bytes, str]], Placement]:
    folder = tmp_path_factory.mktemp("zoo")
    animals = make_zoo()
    members = make_members(6) | {name: data for name, (data, _) in animals.items()}
    archive = write_zip(folder / "raw.zip", members, zipfile.ZIP_DEFLATED)
    return folder, animals, place(archive, folder / "out")


def test_every_animal_is_where_it_belongs(zoo: tuple[Path, dict[str, tuple[bytes, str]], Placement]) -> None:
    _, animals, placement = zoo
    assert len(animals) >= 40
    found = {str(row["source_name"]): str(row["reason"]) for row in placement.quarantine}
    found |= {str(row["source_name"]): str(row["normalised"]) for row in placement.rows}
    expected = {name.replace("\\", "/").replace("\n", "\\n"): verdict for name, (_, verdict) in animals.items()}
    assert {name: found.get(name) for name in expected} == expected


def test_every_member_is_accounted_for_once(zoo: tuple[Path, dict[str, tuple[bytes, str]], Placement]) -> None:
    folder, _, placement = zoo
    with open_archive(folder / "raw.zip") as members:
        names = sorted(member.name for member in members)
    assert sorted(str(row["source_name"]) for row in [*placement.rows, *placement.quarantine]) == names
    assert {str(row["reason"]) for row in placement.quarantine} <= set(REASONS)
    assert all(set(row) == set(COLUMNS) for row in placement.rows)


def test_files_are_what_the_manifest_says(zoo: tuple[Path, dict[str, tuple[bytes, str]], Placement]) -> None:
    folder, animals, placement = zoo
    files = list_files(folder / "out" / "images")
    assert files == {str(row["path"]): row["sha256"] for row in placement.rows if row["path"]}
    assert len({path.lower() for path in files}) == len(files)
    for row in placement.rows:
        with Image.open(folder / "out" / "images" / str(row["path"])) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (row["width"], row["height"]))
            assert image.getexif().get(0x0112, 1) == 1
        source = animals.get(str(row["source_name"]))
        if source and not row["normalised"]:
            assert hashlib.sha256(source[0]).hexdigest() == row["sha256"]


def test_nothing_is_written_elsewhere(zoo: tuple[Path, dict[str, tuple[bytes, str]], Placement]) -> None:
    folder = zoo[0]
    assert sorted(path.name for path in folder.iterdir()) == ["out", "raw.zip"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["images", "masks.zip"]


@pytest.mark.parametrize("threads", [1, 5])
def test_threads_change_nothing(
    zoo: tuple[Path, dict[str, tuple[bytes, str]], Placement], tmp_path: Path, threads: int
) -> None:
    folder, _, placement = zoo
    again = place(folder / "raw.zip", tmp_path / "again", threads=threads)
    assert again == placement
    assert list_files(tmp_path / "again") == list_files(folder / "out")


def test_near_duplicates_share_a_split(tmp_path: Path) -> None:
    members = make_members(20)
    for i in range(20):
        picture = make_picture(i)
        members[f"train/cat.{100 + i}.jpg"] = encode(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=60)
    placement = place(write_zip(tmp_path / "a.zip", members), tmp_path / "out", validation=6, test=6)
    splits: dict[object, set[object]] = {}
    for row in placement.rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    assert len(splits) == 40
    assert all(len(each) == 1 for each in splits.values())


def test_kaggle_nested(tmp_path: Path) -> None:
    train = write_zip(tmp_path / "train.zip", make_members(5)).read_bytes()
    test = write_zip(tmp_path / "test1.zip", {f"test1/{i}.jpg": make_jpeg(i) for i in range(3)}).read_bytes()
    members = {"train.zip": train, "test1.zip": test, "sampleSubmission.csv": b"id,label\n"}
    placement = place(write_zip(tmp_path / "outer.zip", members), tmp_path / "out", validation=1, test=1)
    assert len(placement.rows) == 10
    assert sorted(str(row["reason"]) for row in placement.quarantine) == ["no_label"] * 3 + ["not_an_image"]


def test_microsoft_names(tmp_path: Path) -> None:
    members = {
        f"PetImages/{name}/{i}.jpg": make_jpeg(50 * k + i) for k, name in enumerate(("Cat", "Dog")) for i in range(4)
    }
    placement = place(write_zip(tmp_path / "a.zip", members), tmp_path / "out", validation=1, test=1)
    assert {str(row["path"]).split("/")[-1] for row in placement.rows} == {
        f"{n}.{i}.jpg" for n in ("cat", "dog") for i in range(4)
    }


def test_masks_travel_beside(tmp_path: Path) -> None:
    members = {name.replace("train/", f"{name[6:9]}/"): data for name, data in make_members(6).items()}
    masks = {
        f"masks/{kind}/{name.split('/')[1].replace('.jpg', '.png')}": f"{kind} {name}".encode()
        for name in members
        for kind in ("animal", "head")
    }
    archive = write_zip(tmp_path / "a.zip", members | masks | {"masks/head/stray.png": b"x"})
    placement = place(archive, tmp_path / "out", train=2, validation=1, test=1)
    assert [row["source_name"] for row in placement.quarantine] == ["masks/head/stray.png"]
    placed = {str(row["path"]): row["source_name"] for row in placement.rows if row["path"]}
    with zipfile.ZipFile(tmp_path / "out" / "masks.zip") as found:
        names = found.namelist()
        assert names == sorted(f"{kind}/{path[:-4]}.png" for kind in ("animal", "head") for path in placed)
        assert found.read(f"head/{min(placed)[:-4]}.png") == f"head {placed[min(placed)]}".encode()
    assert len(names) == 2 * len(placed) == 16
    assert placement.n_masks == 24  # unused images have some too
    with open_archive(archive) as listed:
        assert len(placement.rows) + len(placement.quarantine) + placement.n_masks == len(listed)


def test_broken_mask_is_accounted_for(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", make_members(6) | {"masks/animal/cat.1.png": b"the mask"})
    archive.write_bytes(archive.read_bytes().replace(b"the mask", b"tha mask"))
    placement = place(archive, tmp_path / "out")
    assert [(row["source_name"], row["reason"]) for row in placement.quarantine] == [
        ("masks/animal/cat.1.png", "unreadable")
    ]
    assert placement.n_masks == 0
    assert len(placement.rows) == 12


def test_names_that_clash_never_share_a_file(tmp_path: Path) -> None:
    photo = make_jpeg(600)
    digest = hashlib.sha256(photo).hexdigest()[:12]
    names = {"Cats/x.jpg": make_jpeg(601), "a/cats/X.jpg": photo, f"cats/x-{digest}.jpg": make_jpeg(602)}
    placement = place(write_zip(tmp_path / "a.zip", make_members(6) | names), tmp_path / "out")
    assert len(placement.rows) == 15
    assert len(list_files(tmp_path / "out" / "images")) == 15


def test_encrypted_zip_inside_is_accounted_for(tmp_path: Path) -> None:
    inner = bytearray(write_zip(tmp_path / "i.zip", {"cats/secret.jpg": b"x"}).read_bytes())
    inner[inner.rindex(b"PK\x01\x02") + 8] |= 1
    placement = place(write_zip(tmp_path / "a.zip", make_members(6) | {"inner.zip": bytes(inner)}), tmp_path / "out")
    assert [tuple(row.values()) for row in placement.quarantine] == [
        ("inner.zip/cats/secret.jpg", "unreadable", "encrypted")
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "is empty"),
        ({"readme.txt": b"x"}, "no usable image of a cat or dog among its 1 files: 1 not_an_image"),
        ({f"cat.{i}.jpg": make_jpeg(i) for i in range(9)}, "no dog that can be used"),
    ],
)
def test_nothing_to_use(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        place(write_zip(tmp_path / "a.zip", members), tmp_path / "out")
    assert list_files(tmp_path / "out") == {}


def test_quarantine_fits_a_csv(zoo: tuple[Path, dict[str, tuple[bytes, str]], Placement], tmp_path: Path) -> None:
    from cvd.data.images.manifest import write_quarantine

    write_quarantine(zoo[2].quarantine, tmp_path / "q.csv")
    lines = (tmp_path / "q.csv").read_text().splitlines()
    assert len(lines) == len(zoo[2].quarantine) + 1
    assert len(list(csv.DictReader(lines))) == len(zoo[2].quarantine)
