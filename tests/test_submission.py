"""Zips as input of `cvd predict`, and its answers to the competition's test set."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvd import cli
from cvd.data.archives import reading

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword"
)  # Keras' of NumPy


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one model: the logit is 40 times the mean of red over 255, minus 20."""
    import keras

    root = tmp_path_factory.mktemp("project")
    for folder in (".dvc", "models", "metrics"):
        (root / folder).mkdir()
    convolution = keras.layers.Conv2D(1, 1, name="conv1")
    layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255), convolution]
    model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(name="logit")])
    convolution.set_weights([np.array([40, 0, 0], np.float32).reshape(1, 1, 3, 1), np.array([-20], np.float32)])
    model.save(root / "models/red.keras")
    (root / "metrics/data.json").write_text(json.dumps({"splits": {"test": {"cat": 1, "dog": 1}}}))
    (root / "metrics/red.json").write_text(json.dumps({"validation": {"accuracy": 0.9}}))
    return root


@pytest.fixture(autouse=True)
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(project)


def draw(red: int) -> bytes:
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 2] = red
    return cv2.imencode(".jpg", image)[1].tobytes()


def draw_test_set(n: int) -> dict[str, bytes]:
    """Photo `i` has 10 * i of red, of 255: from 13 on they are dogs. In Kaggle's order, which is that of text."""
    names = sorted(f"test1/{i}.jpg" for i in range(1, n + 1))
    return {"test1/": b"", **{name: draw(10 * int(Path(name).stem)) for name in names}}


def pack(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(each) for each in arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def submit(capsys: pytest.CaptureFixture[str], photos: Path, *more: object) -> tuple[int, str, str]:
    return run(capsys, "predict", photos, "--variant", "red", "--submission", photos.parent / "out/answers.csv", *more)


def read_answers(photos: Path) -> list[str]:
    return (photos.parent / "out/answers.csv").read_text().splitlines()


def find_logit(red: int) -> float:
    decoded = cv2.imdecode(np.frombuffer(draw(red), np.uint8), cv2.IMREAD_COLOR)
    return float(40 * decoded[..., 2].mean() / 255 - 20)


@pytest.mark.parametrize("kind", ["zip", "outer zip", "folder"])
def test_answers_come_by_id_from_zips_and_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    members, photos = draw_test_set(21), tmp_path / "test1.zip"
    if kind == "outer zip":
        train = {f"train/{name}.{i}.jpg": draw(i) for i in range(3) for name in ("cat", "dog")}
        outer = {"test1.zip": pack(members), "train.zip": pack(train), "sampleSubmission.csv": b"id,label\n1,0\n"}
        photos.write_bytes(pack(outer))
    elif kind == "zip":
        photos.write_bytes(pack({**members, "__MACOSX/test1/._1.jpg": b"junk"}))
    else:
        with zipfile.ZipFile(io.BytesIO(pack(members))) as archive:
            archive.extractall(tmp_path)
        photos = tmp_path / "test1"
    code, out, err = submit(capsys, photos, "--ids", 21)
    assert code == 0
    kept = "probabilities of dog, kept within 0.001 and 0.999 for log loss"
    assert out.endswith(f"answers.csv: 21 answers of red: {kept}\n")
    left_out = ["left out 6 of 27 files: ", "train.zip/train/cat.0.jpg, whose name is no number"]
    assert all(words in err for words in left_out) if kind == "outer zip" else not err
    head, *rows = read_answers(photos)
    assert head == "id,label"
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, 22))
    found = [float(row.split(",")[1]) for row in rows]
    expected = np.clip([1 / (1 + np.exp(-find_logit(10 * i))) for i in range(1, 22)], 0.001, 0.999)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert found[0] == 0.001
    assert found[20] == 0.999
    code, out, _ = submit(capsys, photos, "--ids", 21, "--labels")
    assert (code, out.split(": ")[-1]) == (0, "0 or 1\n")
    assert read_answers(photos)[1:] == [f"{i},{int(i >= 13)}" for i in range(1, 22)]


def test_whole_test_set_is_expected_and_nothing_written_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "test1.zip"
    members = draw_test_set(12)
    for i in (3, 7, 8):
        del members[f"test1/{i}.jpg"]
    photos.write_bytes(pack(members))
    code, out, err = submit(capsys, photos)
    assert (code, out) == (2, "")
    assert (
        "no submission was written: 9 of 12,500 photos are there, not 3, 7 to 8, 13 to 12500: give all, --fill" in err
    )
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))
    code, out, _ = submit(capsys, photos, "--ids", 12, "--fill", 0.25)
    assert code == 0
    assert "12 answers of red, 3 of them filled with 0.25: " in out
    rows = read_answers(photos)
    assert (rows[3], rows[7], rows[8], rows[4][:3]) == ("3,0.250000", "7,0.250000", "8,0.250000", "4,0")


def test_photo_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "test1.zip"
    photos.write_bytes(pack(draw_test_set(3) | {"test1/2.jpg": b"\xff\xd8\xff\xe0 no more"}))
    code, out, err = submit(capsys, photos, "--ids", 3)
    assert (code, out) == (2, "")
    skipped, refused = err.splitlines()
    assert skipped.startswith(f"skipped {photos}/test1/2.jpg: ")
    assert "2 of 3 photos are readable, not 2: " in refused
    assert not list(tmp_path.glob("out/*"))
    code, out, err = submit(capsys, photos, "--ids", 3, "--fill", 1, "--labels")
    assert (code, err) == (1, skipped + "\n")
    assert read_answers(photos)[1:] == ["1,0", "2,1", "3,0"]


@pytest.mark.parametrize(
    ("more", "options", "said"),
    [
        ({"again/02.jpg": draw(9)}, [], "id 2 is there twice: {zip}/test1/2.jpg and {zip}/again/02.jpg"),
        ({"test1/0.jpg": draw(9)}, [], "{zip}/test1/0.jpg has no id from 1 to 2"),
        ({"test1/3.jpg": draw(9)}, [], "{zip}/test1/3.jpg has no id from 1 to 2: --ids says how many there are"),
        ({}, ["--fill", "2"], "--fill is 2.0: give a probability, 0 to 1"),
        ({}, ["--ids", "0"], "--ids is 0: give the number of photos"),
    ],
)
def test_ids_are_one_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, bytes], options: list[str], said: str
) -> None:
    photos = tmp_path / "test1.zip"
    photos.write_bytes(pack(draw_test_set(2) | more))
    code, out, err = submit(capsys, photos, "--ids", 2, *options)
    assert (code, out) == (2, "")
    assert said.format(zip=photos) in err
    assert err.count("\n") == 1


def test_zip_inside_that_cannot_be_opened_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "all.zip"
    photos.write_bytes(pack({"test1.zip": pack(draw_test_set(2))[:-30], "a.jpg": draw(200)}))
    code, _, err = submit(capsys, photos, "--ids", 2)
    assert code == 2
    lines = err.splitlines()
    assert lines[0] == f"left out 2 of 2 files: {photos}/test1.zip, a zip that cannot be opened"
    assert "0 of 2 photos are there, not 1 to 2" in lines[1]
    code, out, err = run(capsys, "predict", photos, "--variant", "red", "--csv")
    assert code == 1
    assert f"skipped {photos}/test1.zip: not_an_image: a zip that is damaged" in err
    assert out.splitlines()[1].startswith(f"{photos}/a.jpg,dog,")


def test_options_of_a_submission_need_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "1.jpg"
    photos.write_bytes(draw(9))
    for option in (["--labels"], ["--ids", "3"], ["--fill", "0.5"]):
        code, _, err = run(capsys, "predict", photos, *option)
        assert code == 2
        assert "give --submission FILE too" in err
    code, _, err = run(capsys, "predict", photos, "--submission", tmp_path)
    assert code == 2
    assert f"--submission is {tmp_path}, a folder" in err


def test_zip_is_an_input_as_a_folder_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos.ZIP"
    with zipfile.ZipFile(photos, "w") as archive:
        members = {"a.jpg": draw(255), "b/a.jpg": draw(0), "c.txt": b"", ".hidden.jpg": b"", "../d.jpg": draw(0)}
        for name, data in members.items():
            archive.writestr(name, data)
    code, out, err = run(capsys, "predict", photos, "--variant", "red", "--json")
    assert code == 1
    assert err == f"skipped {photos}/../d.jpg: unsafe: its name leads out of the archive\n"
    found = [(row["path"], row["label"], row["logit"]) for row in json.loads(out)]
    assert [path for path, _, _ in found] == [f"{photos}/a.jpg", f"{photos}/b/a.jpg"]
    assert [label for _, label, _ in found] == ["dog", "cat"]
    np.testing.assert_allclose([logit for _, _, logit in found], [find_logit(255), find_logit(0)], atol=1e-4)
    code, out, _ = run(capsys, "explain", photos, "--variant", "red", "--layer", "conv1", "--out", tmp_path / "seen")
    assert code == 1
    sheets = {path.relative_to(tmp_path / "seen").as_posix() for path in (tmp_path / "seen").rglob("*.png")}
    assert sheets == {"a.jpg.red.png", "b/a.jpg.red.png"}


def test_zips_without_photos_or_in_pieces_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos.zip"
    photos.write_bytes(pack({"a.txt": b"x"}))
    code, _, err = run(capsys, "predict", photos, "--variant", "red")
    assert code == 2
    assert f"zip {photos} holds no photo: expected files ending in .jpg" in err
    photos.write_bytes(pack(draw_test_set(2))[:-30])
    code, _, err = run(capsys, "predict", photos, "--variant", "red")
    assert code == 2
    assert f"{photos} is not a readable zip archive" in err


def test_zip_inside_is_opened_where_its_folder_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "all.zip"
    photos.write_bytes(pack({"test1.zip": pack(draw_test_set(2))}))
    monkeypatch.setattr(reading.os, "access", lambda path, mode: path != tmp_path)
    asked = []
    make_file = reading.tempfile.TemporaryFile
    monkeypatch.setattr(reading.tempfile, "TemporaryFile", lambda dir: asked.append(dir) or make_file(dir=dir))
    with reading.open_archive(photos) as members:
        assert [member.name for member in members] == ["test1.zip/test1/1.jpg", "test1.zip/test1/2.jpg"]
    assert asked == [None]
