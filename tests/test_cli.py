import argparse
import csv
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from cvd import cli
from cvd.commands import explain
from cvd.commands.predict import open_writer
from cvd.data.intake import photos
from cvd.vis.explaining.geometry import Heat

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword"
)  # Keras' of NumPy


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two models: the logit is the mean of red over 255, minus 0.5; the better one takes 24 px."""
    import keras

    root = tmp_path_factory.mktemp("project")
    for folder in (".dvc", "models", "metrics", "photos/inner"):
        (root / folder).mkdir(parents=True)
    for name, side, accuracy in (("poor", 16, 0.6), ("good", 24, 0.9)):
        convolution = keras.layers.Conv2D(1, 1, name="conv1")
        layers = [keras.Input((side, side, 3)), keras.layers.Rescaling(1 / 255), convolution]
        model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(name="logit")])
        convolution.set_weights([np.array([1, 0, 0], np.float32).reshape(1, 1, 3, 1), np.array([-0.5], np.float32)])
        model.save(root / f"models/{name}.keras")
        (root / f"metrics/{name}.json").write_text(json.dumps({"validation": {"accuracy": accuracy}}))
    (root / "metrics/comparison.json").write_text("{}")
    (root / "metrics/data.json").write_text(json.dumps({"splits": {"test": {"cat": 1, "dog": 1}}}))
    for name, red in (("a.jpg", 255), ("inner/b.png", 0)):
        image = np.zeros((40, 60, 3), np.uint8)
        image[..., 2] = red
        cv2.imwrite(str(root / "photos" / name), image)
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(each) for each in arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture(autouse=True)
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(project)


def test_predict_takes_the_best_variant_and_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "predict", "photos")
    assert code == 0
    assert "variant good: the best validation accuracy, 0.9000, of 2" in err
    lines = out.splitlines()
    assert lines[0].split() == ["label", "P(dog)", "logit", "path"]
    assert [line.split()[0] for line in lines[1:]] == ["dog", "cat"]


def test_json_and_csv_hold_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "predict", "photos", "--variant", "poor", "--json")
    found = json.loads(out)
    assert [row["path"] for row in found] == ["photos/a.jpg", "photos/inner/b.png"]
    assert found[0]["logit"] == pytest.approx(0.5, abs=0.01)
    assert found[1]["probability"] == pytest.approx(1 / (1 + np.exp(0.5)), abs=0.01)
    _, out, _ = run(capsys, "predict", "photos", "--variant", "poor", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [float(row["logit"]) for row in rows] == [row["logit"] for row in found]
    assert [row["label"] for row in rows] == ["dog", "cat"]


def test_bad_photos_are_reported_and_skipped(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no photo, and not taken for one")
    code, out, err = run(capsys, "predict", tmp_path, project / "photos/a.jpg", "--variant", "good", "--json")
    assert code == 1
    assert [Path(row["path"]).name for row in json.loads(out)] == ["a.jpg"]
    assert [Path(line.split(":")[0]).name for line in err.splitlines()] == ["broken.jpg", "empty.png"]
    code, out, err = run(capsys, "predict", tmp_path / "empty.png", "--variant", "good", "--json")
    assert (code, json.loads(out)) == (1, [])


def test_a_photo_has_one_logit_in_any_company(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 256, (30, 30, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), pixels)
    _, out, _ = run(capsys, "predict", tmp_path, tmp_path / "07.png", "--variant", "good", "--json")
    rows = json.loads(out)
    assert [Path(row["path"]).name for row in rows] == [*(f"{i:02}.png" for i in range(60)), "07.png"]
    assert rows[60] == rows[7]
    for i in (7, 59):
        _, out, _ = run(capsys, "predict", tmp_path / f"{i:02}.png", "--variant", "good", "--json")
        assert json.loads(out) == [rows[i]]
    import keras

    from cvd.data.images.pixels import resize_image

    model = keras.models.load_model(project / "models/good.keras")
    pixels = photos.read_photo(tmp_path / "59.png").pixels
    assert pixels is not None
    found = float(model(resize_image(pixels, 24)[np.newaxis].astype(np.float32), training=False)[0, 0])
    assert rows[59]["logit"] == pytest.approx(found, abs=1e-6)


def test_faults_of_all_kinds_have_a_line_each(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (project / "photos/a.jpg").read_bytes()
    for name, data in (
        ("cut.jpg", whole[: len(whole) // 2]),
        ("long.jpg", whole + bytes(1000)),
        ("ok.jpg", whole),
        ("text.jpg", b"hello"),
        ("zero.jpg", b""),
    ):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.setattr(photos, "MAX_BYTES", len(whole) + 999)
    code, out, err = run(capsys, "predict", tmp_path, "--variant", "good", "--csv")
    assert code == 1
    assert [Path(row["path"]).name for row in csv.DictReader(io.StringIO(out))] == ["ok.jpg"]
    found = [line.removeprefix(f"skipped {tmp_path}/") for line in err.splitlines()]
    assert [line.split(":")[0] for line in found] == ["cut.jpg", "long.jpg", "loop.jpg", "text.jpg", "zero.jpg"]
    for line, reason in zip(found, ("truncated", "too_large", "Too many levels", "not_an", "empty"), strict=True):
        assert reason in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_skipped_and_folders_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret.jpg").touch(0o000)
    code, _, err = run(capsys, "predict", tmp_path, "--variant", "good")
    assert code == 1
    assert "secret.jpg: cannot be read: Permission denied" in err
    (tmp_path / "locked").mkdir(0o000)
    code, _, err = run(capsys, "predict", tmp_path, "--variant", "good")
    assert code == 2
    assert "locked cannot be listed: Permission denied" in err


def test_odd_names_take_one_line_and_come_back_whole(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["new\nline.jpg", "\x1b[31mred.jpg", "größe→.jpg", "bad\udcff.jpg"]
    for name in names:
        shutil.copyfile(project / "photos/a.jpg", tmp_path / name)
    _, out, _ = run(capsys, "predict", tmp_path, "--variant", "good")
    shown = {line.split("/")[-1] for line in out.splitlines()[1:]}
    assert shown == {"new\\nline.jpg", "\\x1b[31mred.jpg", "größe→.jpg", "bad\\udcff.jpg"}
    _, out, _ = run(capsys, "predict", tmp_path, "--variant", "good", "--json")
    assert {Path(row["path"]).name for row in json.loads(out)} == set(names)
    (tmp_path / "new\nline.jpg").write_bytes(b"")
    _, _, err = run(capsys, "predict", tmp_path, "--variant", "good")
    assert [line.split("/")[-1] for line in err.splitlines()] == ["new\\nline.jpg: empty: no bytes"]


def test_hidden_files_and_linked_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("b/1.jpg", "a.jpg", "b.jpg", ".hidden.jpg", ".trash/x.jpg", "__MACOSX/._a.jpg", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "d.jpg").symlink_to(tmp_path / "b")
    found = [path.relative_to(tmp_path).as_posix() for path in photos.list_photos(tmp_path)]
    assert found == ["a.jpg", "b/1.jpg", "b.jpg"]


def test_few_photos_are_in_memory_at_a_time(project: Path) -> None:
    asked = 0

    def ask() -> Iterator[Path]:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield project / "photos/a.jpg"

    found = photos.read_photos(ask(), prepare=lambda pixels: pixels[:5], n_ahead=6)
    for i in range(1, 4):
        pixels = next(found).pixels
        assert pixels is not None
        assert pixels.shape == (5, 60, 3)
        assert asked == 6 + i
    found.close()
    assert list(photos.take_batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_photos_are_turned_upright(project: Path, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(path, exif=exif)
    pixels = photos.read_photo(path).pixels
    assert pixels is not None
    assert pixels.shape == (60, 40, 3)


def test_damaged_models_are_one_line_and_2(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import keras

    models = project / "models"
    whole = (models / "good.keras").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    broken = {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"no model", "flipped": bytes(flipped)}
    for name, data in broken.items():
        (models / f"{name}.keras").write_bytes(data)
    inputs = keras.Input((8,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(models / "other.keras")
    try:
        for name in (*broken, "other"):
            code, out, err = run(capsys, "predict", "photos", "--variant", name)
            assert (code, out) == (2, ""), name
            assert len(err.splitlines()) == 1
            assert f"models/{name}.keras " in err
            assert f"dvc repro train@{name}" in err
    finally:
        for name in (*broken, "other"):
            (models / f"{name}.keras").unlink()


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [("/dev/full", 2, "the disk is full"), ("/dev/null", 0, ""), ("a pipe that is closed", 141, ""), ("", 0, "")],
)
def test_output_that_cannot_be_written_is_no_traceback(target: str, code: int, message: str) -> None:
    script = (
        "from cvd import cli; from cvd.commands import runs\n"
        "def work(args): print('x' * 100_000); return 0\n"
        "runs.print_runs = work\n"
        "cli.main(['runs'])"
    )
    command = [sys.executable, "-c", script]
    if target.startswith("/"):
        output = os.open(target, os.O_WRONLY)
    elif target:
        read, output = os.pipe()
        os.close(read)
    else:
        command, output = ["sh", "-c", 'exec "$0" -c "$1" <&- >&-', sys.executable, script], os.open(os.devnull, 1)
    done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True)
    os.close(output)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == bool(message)


def test_folder_that_may_not_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(args: argparse.Namespace) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "explained")

    monkeypatch.setattr("cvd.commands.runs.print_runs", work)
    code, out, err = run(capsys, "runs")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "error: explained cannot be used (Permission denied): check its owner, its mode and its disk, then run again"
    ]


def test_bar_is_for_terminals_whose_rows_go_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, out, err = run(capsys, "predict", "photos", "--variant", "good", "--csv")
    assert len(out.splitlines()) == 3
    assert "2/2" in err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, _, err = run(capsys, "predict", "photos", "--variant", "good", "--csv")
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nowhere.jpg"], "photo nowhere.jpg does not exist"),
        (["predict", "models"], "folder models holds no photo"),
        (["predict", "photos", "--variant", "best"], "there are good, poor"),
        (["explain", "photos", "--variant", "good", "--layer", "conv9"], "layer 'conv9'"),
        (
            ["explain", "photos", "--variant", "good", "--layer", "conv1", "--method", "integrated"],
            "leave the layer out",
        ),
        (["explain", "photos", "--classes", "tabby", "lynx"], "models/backbone/backbone.json"),
        (["sync"], "cannot read params.yaml"),
    ],
)
def test_bad_input_is_one_line_and_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_without_models_it_says_what_to_do(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "predict", project / "photos")
    assert code == 2
    assert "run `dvc repro`" in err


@pytest.mark.parametrize(
    "command",
    ["add small", "remove small", "predict PHOTO", "explain PHOTO", "serve", "compare", "compare --seeds",
     "worker baseline", "sync", "runs", "runs --page"],
)  # fmt: skip
def test_outside_of_a_project_nothing_is_read_or_written(
    command: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}))
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *command.replace("PHOTO", str(project / "photos/a.jpg")).split())
    assert (code, out) == (2, "")
    assert err == f"error: {tmp_path} is in no project (no .dvc here or above): run this in the project's folder\n"
    assert not list(tmp_path.iterdir())


def test_explain_draws_a_sheet_for_each_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "photos/a.jpg", "--variant", "good", "--layer", "conv1", "--out", tmp_path)
    assert code == 0
    assert out.startswith("photos/a.jpg: P(dog) 0.")
    assert ", says dog: " in out
    sheet = cv2.imread(str(tmp_path / "a.jpg.good.png"))
    assert sheet is not None
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg.good.png"]


def test_explain_shows_what_the_backbone_recognises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = ("elkhound 41%", "tabby 8%", "lynx <1%", "elkhound, not tabby", "tabby, not elkhound")
    heats = [Heat(label, "top", np.eye(4, dtype=np.float32), total=4.0) for label in labels]
    viewer = SimpleNamespace(title="HiResCAM+", note="", view=lambda image, top: heats)
    monkeypatch.setattr(explain, "load_eyes", lambda only_last: ("Eyes", 24, viewer))
    code, out, _ = run(capsys, "explain", "photos/a.jpg", "--variant", "good", "--out", tmp_path)
    assert code == 0
    assert "photos/a.jpg: Eyes sees elkhound 41%, tabby 8%, lynx <1%: " in out.splitlines()[1]
    assert {path.name for path in tmp_path.iterdir()} == {"a.jpg.good.png", "a.jpg.imagenet.png"}


@pytest.mark.parametrize("method", ["hirescam", "scorecam", "integrated"])
def test_explain_sets_networks_side_by_side_by_any_method(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = ["--variant", "good", "--variant", "poor"]
    code, out, _ = run(capsys, "explain", "photos/a.jpg", *variants, "--method", method, "--out", tmp_path)
    assert code == 0
    assert re.search(r"a\.jpg: good: P\(dog\) 0\.\d+, says dog; poor: P\(dog\) 0\.\d+, says dog: ", out)
    one = tmp_path / "one"
    run(capsys, "explain", "photos/a.jpg", "--variant", "good", "--method", method, "--out", one)
    both, single = (cv2.imread(str(path)) for path in (tmp_path / "a.jpg.good+poor.png", one / "a.jpg.good.png"))
    assert both is not None
    assert single is not None
    assert both.shape[0] > single.shape[0]


def test_explain_takes_the_best_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "explain", "photos/a.jpg", "--out", tmp_path)
    assert code == 0
    assert "variant good: the best validation accuracy" in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg.good.png"]


def test_explain_keeps_photos_of_one_name_apart(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given"
    for name in ("a/1.jpg", "b/1.jpg", "b/x.jpg", "b/x.png"):
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project / "photos/a.jpg", given / name)
    code, out, _ = run(capsys, "explain", given, "--variant", "good", "--layer", "conv1", "--out", tmp_path / "out")
    assert code == 0
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert written == {"a/1.jpg.good.png", "b/1.jpg.good.png", "x.jpg.good.png", "x.png.good.png"}
    assert all(name in out for name in written)


def test_photos_are_named_as_shortly_as_tells_them_apart() -> None:
    def name(*paths: str, given: tuple[str, ...]) -> list[str]:
        found = photos.name_photos([Path(path) for path in paths], [Path(path) for path in given])
        return [found[Path(path)].as_posix() for path in paths]

    assert name("p/1.jpg", "p/2.jpg", given=("p",)) == ["1.jpg", "2.jpg"]
    assert name("p/1.jpg", "p/a/1.jpg", "p/a/2.jpg", given=("p",)) == ["1.jpg", "a/1.jpg", "2.jpg"]
    assert name("p/a/1.jpg", "q/a/1.jpg", given=("p", "q")) == ["p/a/1.jpg", "q/a/1.jpg"]
    assert name("p/1.jpg", "q/1.jpg", given=("p/1.jpg", "q/1.jpg")) == ["p/1.jpg", "q/1.jpg"]
    far = name("/r/s/p/1.jpg", "/t/s/p/1.jpg", given=("/r/s/p", "/t/s/p"))
    assert far == ["r/s/p/1.jpg", "t/s/p/1.jpg"]
    assert name("p/1.jpg", "p/1.jpg", given=("p", "p/1.jpg")) == ["1.jpg", "1.jpg"]


def test_help_loads_no_tensorflow() -> None:
    code = (
        "import sys; from cvd import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "try: cli.main(['predict', 'nowhere.jpg'])\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'keras', 'mlflow', 'cv2', 'flask', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in ("predict", "explain", "serve", "sync"))


def test_path_of_a_photo_is_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    with open_writer("csv", ("cat", "dog")) as write:
        write(Path("=1+1.jpg"), "cat", 0.25, -1.5)
        write(Path("a=b.jpg"), "dog", 0.75, 1.5)
    assert capsys.readouterr().out == "path,label,probability,logit\n'=1+1.jpg,cat,0.25,-1.5\na=b.jpg,dog,0.75,1.5\n"
