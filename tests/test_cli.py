import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvd import cli, photos

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
    assert lines[0].split() == ["label", "probability", "logit", "path"]
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


def test_photos_are_turned_upright(project: Path, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(path, exif=exif)
    pixels = photos.read_photo(path).pixels
    assert pixels is not None
    assert pixels.shape == (60, 40, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nowhere.jpg"], "photo nowhere.jpg does not exist"),
        (["predict", "models"], "folder models holds no photo"),
        (["predict", "photos", "--variant", "best"], "there are good, poor"),
        (["explain", "photos", "--variant", "good", "--layer", "conv9"], "layer 'conv9'"),
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


def test_explain_draws_a_sheet_for_each_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "photos/a.jpg", "--variant", "good", "--layer", "conv1", "--out", tmp_path)
    assert code == 0
    assert out.startswith("photos/a.jpg: P(dog) 0.")
    assert ", says dog: " in out
    sheet = cv2.imread(str(tmp_path / "a.jpg.good.png"))
    assert sheet is not None
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
        "assert not {'tensorflow', 'keras', 'mlflow', 'cv2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in ("predict", "explain", "sync"))


def test_folders_stream_in_order() -> None:
    assert list(photos.take_batches(range(70))) == [list(range(32)), list(range(32, 64)), list(range(64, 70))]
