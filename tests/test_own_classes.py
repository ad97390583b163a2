"""The whole graph on photos of two classes that are neither cats nor dogs: nothing that comes out names those."""

import io
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from tiny_project import clone, commit, run, tiny_params

pytestmark = pytest.mark.pipeline

WORDS = re.compile(r".{0,40}(?<![a-z])(?:cat|dog|kitten|pupp(?:y|ie))s?(?![a-z]).{0,40}", re.IGNORECASE)
FOLDERS = {"circle": "Circles", "square": "train_square"}  # as people spell them


def draw_shape(name: str, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(90, 166, (96, 112, 3), np.uint8))
    x, y, side = map(int, rng.integers((4, 4, 24), (40, 40, 60)))
    pen = ImageDraw.Draw(image)
    draw = pen.ellipse if name == "circle" else pen.rectangle
    draw((x, y, x + side, y + side), fill=tuple(map(int, rng.integers(0, 256, 3))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, photos = tmp_path_factory.mktemp("shapes") / "project", tmp_path_factory.mktemp("photos")
    root.mkdir()
    clone(root)
    for number, (name, folder) in enumerate(FOLDERS.items()):
        (photos / folder).mkdir()
        for index in range(14):
            (photos / folder / f"{index}.jpg").write_bytes(draw_shape(name, 100 * number + index))
    (photos / "Circles" / "broken.jpg").write_bytes(b"no image")
    params = tiny_params()
    params["data"] |= {"source": "directory", "path": str(photos), "classes": ["circle", "square"]}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    commit(root, "two shapes")  # else the report tells from which classes these differ
    done = run("dvc", "repro", cwd=root)
    (root / ".cvd/said.txt").write_text(done.stdout + done.stderr)
    return root


def read_outputs(project: Path) -> Iterator[tuple[str, str]]:
    """Every output's name, and the text that it holds."""
    for folder in ("data", "heatmaps", "metrics", "models", "plots", "predictions", "mlartifacts"):
        for path in sorted((project / folder).rglob("*")):
            if path.is_file() and path.name not in (".gitignore", "README.md"):
                yield str(path.relative_to(project)), ""
                if (
                    path.suffix in (".csv", ".html", ".json", ".md", ".txt", ".yaml", ".yml", ".sha256")
                    or not path.suffix
                ):
                    yield path.name, re.sub(r"base64,[A-Za-z0-9+/=]+", "", path.read_text())


def test_no_output_names_cats_and_dogs(project: Path) -> None:
    named = [(name, match) for name, text in read_outputs(project) for match in WORDS.findall(f"{name}\n{text}")]
    assert not named


def test_stages_say_the_classes(project: Path) -> None:
    said = (project / ".cvd/said.txt").read_text()
    assert "7 circles, 7 squares" in said
    assert not WORDS.findall(said)


def test_files_carry_the_names(project: Path) -> None:
    assert sorted(path.name for path in (project / "data/images/test").iterdir()) == ["circle", "square"]
    classes = json.loads((project / "metrics/baseline.json").read_text())["test"]["classes"]
    assert [row["label"] for row in classes] == ["circle", "square"]
    assert "circle" in (project / "plots/comparison/confusion.csv").read_text()
    report = (project / "plots/report.html").read_text()
    assert "<title>Squares vs. Circles" in report
    assert "baseline takes a square for a circle; show them" in report


def test_mlflow_names_them(project: Path) -> None:
    with sqlite3.connect(project / "mlflow.db") as store:
        script = "\n".join(store.iterdump())
    assert "squares-vs-circles" in script
    assert not WORDS.findall(re.sub(r"cvd@[^']*|base64,[A-Za-z0-9+/=]+", "", script))


def test_commands_name_them(project: Path) -> None:
    photo = next((project / "data/images/test/square").iterdir())
    table = run("cvd", "predict", "--csv", "--variant", "baseline", str(photo), cwd=project).stdout
    assert table.splitlines()[1].split(",")[1] in FOLDERS
    text = run("cvd", "predict", "--variant", "baseline", str(photo), cwd=project).stdout
    assert "P(square)" in text
    explained = run("cvd", "explain", "--variant", "baseline", "--out", "seen", str(photo), cwd=project).stdout
    assert "P(square)" in explained
    compared = run("cvd", "compare", cwd=project).stdout
    assert not WORDS.findall(text + table + explained + compared)


def test_plots_name_them(project: Path) -> None:
    run("dvc", "plots", "show", "--out", "shown", cwd=project)
    assert not WORDS.findall((project / "shown/index.html").read_text())


def test_what_imagenet_knows_of_them_is_refused(project: Path) -> None:
    done = run("cvd", "add", "zero_shot", cwd=project, check=False)
    assert done.returncode == 2
    assert "data.classes is ['circle', 'square']" in done.stderr
    assert "it needs [cat, dog]" in done.stderr
