"""The report: one file that needs nothing else, honest headlines, and a browser that finds no fault in it."""

import html
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from cvd.evaluation import measures
from cvd.evaluation.comparison import compare_variants, summarise_timing
from cvd.evaluation.lesson.sizes import COLUMNS
from cvd.evaluation.tables import tabulate_charts, write_table
from cvd.report import exports, illustrations, pictures, results
from cvd.report import page as report_page
from cvd.report.provenance import Trial
from cvd.runtime.errors import InputError
from cvd.runtime.files import render_json

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PARAMS = Path(__file__).parents[2] / "params.yaml"
EVALUATE = {"calibration_bins": 10, "onset_tolerance": 0.05, "notable_gap": 0.05, "learned_accuracy": 0.8}
VARIANTS = {"baseline": 0.6, "augmented": 1.0, "tfrecord": 0.6, "transfer": 2.2}
INTAKE = {
    "members": 130, "images": 126, "quarantined": 4, "masks": 0, "reasons": {"truncated": 3, "not an image": 1},
    "normalised": {"rotated": 2}, "near_duplicates": {"groups": 2, "images": 5, "of_both_classes": 1, "left_out": 1},
}  # fmt: skip
EXPLANATIONS = {
    "baseline": {
        "gradcam": {
            "pool3": {"animal_pointing": 0.77},
            "conv4": {
                "agreement": 0.52,
                "deletion": 0.5,
                "insertion": 0.6,
                "rank_correlation": -0.12,
                "animal_pointing": 0.61,
                "details": [{}],
            },
        },
        "hirescam": {"conv4": {"agreement": 1.0, "deletion": 0.2, "insertion": 0.9}},
        "chance": {"random": {"animal_pointing": 0.3, "deletion": 0.4, "insertion": 0.62}},
    }
}
PROVENANCE = {
    "code": {"commit": "0123456789abcdef", "date": "2026-01-01", "state": "exactly this commit"},
    "versions": {"python": "3.11"},
    "machine": {"processor": "CPU <of> sorts", "cores": "2", "system": "Linux"},
}
TRIAL = Trial(
    name="lilac-kite",
    baseline="fedcba9876",
    differences=["augment.rotation_degrees 40 → 15", "code: cvd/training"],
    verdict=["augmented: 82.5% (was 81.0%): +1.5 points, 95% −0.9 to +3.9: cannot be told from luck"],
    commands=[
        ("dvc exp apply lilac-kite", "its code"),
        ("git checkout fedcba9876", "or"),
        ("dvc exp run -S 'a=[0,7]'", ""),
    ],
)


def write_picture(path: Path, width: int = 300, height: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """metrics/, plots/ and a manifest as the stages leave them."""
    root = tmp_path_factory.mktemp("workspace")
    (root / "metrics").mkdir()
    split = np.repeat(["test", "train", "validation"], 120)
    rows = pd.DataFrame({"path": [f"{i}.jpg" for i in range(360)], "split": split, "label": np.arange(360) % 2})
    rows.to_csv(root / "manifest.csv", index=False)
    epochs = np.arange(1, 9)
    history = pd.DataFrame(
        {"epoch": epochs, "loss": 0.7 / epochs, "accuracy": 0.9, "val_loss": 0.6 + 0.05 * epochs, "val_accuracy": 0.7}
    )
    training = {"epochs": 8, "saved_epoch": 8, "precision": "float32", "parameters": 3453121}
    timing = {"images_per_second": 190.0, "seconds": 60.0, "seconds_per_epoch": [7.0], "device": "CPU", "threads": 2}
    predictions, metrics = {}, {}
    for name, skill in VARIANTS.items():
        noise = np.random.default_rng(round(10 * skill)).normal(size=360)
        predictions[name] = frame = measures.tabulate_predictions(rows, (2 * rows["label"] - 1) * skill + noise)
        metrics[name] = measures.evaluate_variant(frame, history, training, **EVALUATE)
        (root / "metrics" / f"{name}.json").write_text(render_json(metrics[name]))
    charts = root / "plots/comparison"
    charts.mkdir(parents=True)
    tables = tabulate_charts(predictions, dict.fromkeys(predictions, history), calibration_bins=10)
    for kind, table in tables.items():
        write_table(table, charts / f"{kind}.csv")
    comparison = compare_variants(predictions, metrics, {}, n_bootstrap=200, seed=1)
    (root / "metrics/comparison.json").write_text(render_json(comparison))
    summary = summarise_timing(timing, best_epoch=1)
    (root / "metrics/timings.json").write_text(json.dumps(dict.fromkeys(VARIANTS, summary)))
    (root / "metrics/data.json").write_text(json.dumps(INTAKE))
    (root / "metrics/explanations").mkdir()
    for name, figures in EXPLANATIONS.items():
        (root / f"metrics/explanations/{name}.json").write_text(json.dumps(figures))
    (root / "quarantine.csv").write_text("source_name,reason,detail\nCat/666.jpg,truncated,<0 bytes>\n")
    sizes = {"variant": "baseline", "n_images": [15, 60, 120], "epochs": [64, 16, 8]}
    sizes |= {"train": 1.0, "validation": [0.6, 0.65, 0.7], "test": [0.55, 0.6, 0.72], "gap": [0.4, 0.35, 0.3]}
    table = pd.DataFrame(sizes).assign(test_low=[0.5, 0.55, 0.66], test_high=[0.6, 0.65, 0.78])
    table = table.assign(difference=[0.17, 0.12, 0], difference_low=[0.05, -0.02, 0], difference_high=[0.3, 0.25, 0])
    write_table(table[list(COLUMNS)], charts / "sizes.csv")
    for name in (
        "mistakes/baseline.png",
        "side_by_side/images/test-cat-1.png",
        "gradcam/baseline/deep.png",
        "activations/baseline/cat.png",
        "activations/small/left-from-earlier.png",
        "filters/transfer/conv1.png",
    ):
        write_picture(root / "plots" / name)
    return root


@pytest.fixture(scope="module")
def page(workspace: Path) -> str:
    text = PARAMS.read_text(encoding="utf-8")
    found = results.read_results(workspace / "metrics", workspace / "plots", workspace / "quarantine.csv")
    return report_page.render_report(
        found,
        charts=illustrations.start_charts(found),
        manifest=pd.read_csv(workspace / "manifest.csv"),
        plots=workspace / "plots",
        provenance=PROVENANCE,
        trial=TRIAL,
        params=yaml.safe_load(text),
        params_text=text + "# <script>alert(1)</script>\n",
    )


class Outline(HTMLParser):
    """Tags with their attributes, and headings' levels."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_page_stands_by_itself_and_is_accessible(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    for tag, attributes in outline.tags:
        for key in ("src", "srcset", "href"):
            value = attributes.get(key) or "#"
            assert value.startswith(("data:image/", "#")), f"{tag} {key}={value[:80]}"
        if tag == "img":
            assert attributes.get("alt")
            assert attributes.get("width")
            assert attributes.get("height")
    assert "script" not in {tag for tag, _ in outline.tags}
    assert "&lt;script&gt;" in page
    assert ("html", {"lang": "en"}) in outline.tags
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    anchors = {attributes["id"] for _, attributes in outline.tags if "id" in attributes}
    assert {attributes["href"] for tag, attributes in outline.tags if tag == "a"} <= {f"#{name}" for name in anchors}
    assert len(page.encode()) < 10e6


def test_page_tells_the_story(page: str, workspace: Path) -> None:
    comparison = json.loads((workspace / "metrics/comparison.json").read_text())
    text = re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", "", page.replace("</t", " </t"), flags=re.DOTALL))
    for sentence in (*comparison["verdict"], report_page.write_headline(comparison)):
        assert sentence.replace("<", "&lt;") in text.replace("\u2011", "-")
    for wanted in (
        "0123456789ab",
        "CPU &lt;of&gt; sorts",
        "3,453,121",
        "tfrecord",
        "190",
        "make ui",
        "train 60 60 120",
    ):
        assert wanted in text, wanted
    assert page.index('id="curves"') < page.index('id="results"') < page.index('id="seen"') < page.index('id="again"')
    assert "test-cat-1" in text
    assert "deep" not in text
    assert "left-from-earlier" not in text, "it is not compared any more"
    assert "1 of 1 in plots/activations/" in text


def test_page_knows_its_experiment(page: str) -> None:
    text = " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", "", page, flags=re.DOTALL)).split())
    top, _, rest = text.partition("Learning curves: ")
    assert "<title>Dogs vs. Cats, lilac-kite: " in page
    lead = "Experiment lilac-kite, against commit fedcba9876. What differs: augment.rotation_degrees 40 → 15 code: "
    assert lead in top
    assert TRIAL.verdict[0] in top
    commands = "# its code dvc exp apply lilac-kite # or git checkout fedcba9876 dvc exp run -S 'a=[0,7]' Then"
    assert commands in rest.partition("How to reproduce")[2]


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        (Trial("workspace", "fedcba9876", [], [], []), "Workspace, against commit fedcba9876. Nothing differs."),
        (Trial("workspace", "fedcba9876", ["seed 1 → 2"], [], []), "No answer differs from the commit's, or"),
        (Trial("workspace", "", [], [], []), ""),
    ],
)
def test_page_says_when_nothing_differs(workspace: Path, trial: Trial, said: str) -> None:
    template = report_page._open_template([])
    module = template.environment.from_string("{% from 'trial.html.j2' import tell %}{{ tell(trial) }}")
    text = " ".join(re.sub("<[^>]+>", "", module.render(trial=trial)).split())
    assert text.startswith(said) if said.startswith("W") else said in text
    assert bool(text) == bool(said)


def test_names_are_marked_as_whole_words() -> None:
    marked = report_page.mark_variants("base beats base-2 & basement", ["base", "base-2"])
    assert marked == '<span class="tag v-1">base</span> beats <span class="tag v-2">base-2</span> &amp; basement'


def test_headline_claims_no_winner_without_one(workspace: Path) -> None:
    comparison = json.loads((workspace / "metrics/comparison.json").read_text())
    assert report_page.write_headline(comparison).startswith("transfer wins with ")
    comparison["overfitting"][0] |= {"variant": "baseline", "accuracy_gap": 0.345}
    assert report_page.write_headline(comparison).endswith("; baseline over-fits by 34.5 points")
    for pair in comparison["pairs"]:
        pair["p_holm"] = 0.5
    assert report_page.write_headline(comparison).startswith("transfer and augmented lead, too close to call; ")


def test_pictures_are_chosen_by_name_and_kept_small(tmp_path: Path) -> None:
    for i in (1, 2, 3, 10):
        write_picture(tmp_path / "v" / f"conv{i}.png", 900, 900)
    chosen = pictures.choose_pictures(tmp_path, "v/*", n=3)
    assert [path.stem for path in chosen] == ["conv1", "conv3", "conv10"]
    assert pictures.choose_pictures(tmp_path, "nothing/*", n=3) == []
    assert [path.stem for path in pictures.list_pictures(tmp_path, "v/*")] == ["conv1", "conv2", "conv3", "conv10"]
    assert pictures.name_picture(Path("v/conv1.png"), "v") == "layer conv1"
    assert pictures.name_picture(Path("v/test_cat_cat.4.png"), "v") == "cat.4, a cat of the test images"
    assert pictures.name_picture(Path("v.png"), "v") == ""
    assert pictures.name_picture(Path("disagreements.png"), "") == "images on which the networks disagree"
    small = pictures.encode_picture(chosen[0], most_bytes=40_000)
    assert len(small.uri) <= 40_000
    assert small.width < 900
    assert pictures.encode_picture(chosen[0], most_bytes=10**7).width == 900


def test_sections_count_the_pictures_of_their_patterns_once(tmp_path: Path) -> None:
    for name in (
        "gradcam/baseline/cat.png",
        "gradcam/baseline/cat/conv1_cat.png",
        "gradcam/gone/cat.png",
        "side_by_side/images/cat.png",
        "side_by_side/disagreements.png",
        "mistakes/baseline.png",
        "mistakes/gone.png",
        "activations/baseline/cat.png",
        "activations/baseline/cat/conv1.png",
    ):
        write_picture(tmp_path / name, 30, 20)
    sections = {section["name"]: section for section in exports.collect_exports(tmp_path, ["baseline", "augmented"])}
    assert {name: section["n_all"] for name, section in sections.items()} == {
        "gradcam": 3,
        "mistakes": 2,
        "activations": 2,
    }
    assert sections["gradcam"]["folders"] == ["side_by_side", "photos", "gradcam"]
    assert [picture.name for picture in sections["mistakes"]["pictures"]] == [
        "images on which the networks disagree",
        "",
    ]


def test_missing_files_name_the_command(workspace: Path, tmp_path: Path) -> None:
    quarantine = workspace / "quarantine.csv"
    with pytest.raises(InputError, match=r"comparison.json is not there: run `dvc repro` or `dvc pull`"):
        results.read_results(tmp_path, workspace / "plots", quarantine)
    with pytest.raises(InputError, match=r"comparison/curves.csv is missing: make it with `dvc repro compare`"):
        results.read_results(workspace / "metrics", tmp_path, quarantine)


def test_damaged_tables_are_refused(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace / "plots/comparison", folder := tmp_path / "comparison")

    def read() -> results.Results:
        return results.read_results(workspace / "metrics", tmp_path, workspace / "quarantine.csv")

    assert read().sizes is not None
    path = folder / "sizes.csv"
    text = path.read_text()
    head, row, *_ = text.splitlines()
    for torn in ("", text[:40], f"{head}\n", f"{head}\n{row}\n", text[: text.rindex(",")], "a,b\n1,2\n3,4\n", "\0\1"):
        path.write_text(torn)
        with pytest.raises(InputError, match=r"sizes.csv is not a table of compare: make it again with `dvc repro -f"):
            read()
    path.unlink()
    assert read().sizes is None
    (folder / "roc.csv").write_text("variant,x\nbaseline,1\n")
    with pytest.raises(InputError, match=r"roc.csv lacks augmented, tfrecord, transfer: make it again with `dvc repro"):
        read()


def test_page_shows_what_else_there_is(page: str, workspace: Path) -> None:
    text = " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())
    for wanted in (
        "Of 130 images in the source, 126 are good (2 rotated) and 4 are in quarantine: 3 truncated, 1 not an image",
        "Cat/666.jpg : truncated &lt;0 bytes&gt; and 3 more",
        "5 images are near-copies of one another, in 2 groups; none of them stands in two splits, and 1 were left out",
        "baseline : 8 times the images (15 to 120) take test accuracy from 55.0% to 72.0%, by +17.0 points",
        "true to the network plausible to a person",
        "baseline gradcam conv4 0.52 0.50 0.60 −0.12 0.61",
        "baseline chance 0.40 0.62 0.30",
        "Warning. baseline : gradcam at conv4 is no better than chance "
        "(deletion 0.50, noise 0.40, less is better; insertion 0.60, noise 0.62, more is better).",
        "Warning. baseline : gradcam at conv4 contradicts the network: in 48% of images the other class has more heat.",
        "baseline : truest by insertion minus deletion: hirescam (0.70).",
    ):
        assert wanted in text, wanted
    assert page.index('id="errors"') < page.index('id="more"') < page.index('id="seen"')


def test_page_does_without_what_is_absent(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace / "metrics", tmp_path / "metrics")
    (tmp_path / "metrics/data.json").unlink()
    shutil.rmtree(tmp_path / "metrics/explanations")
    shutil.copytree(workspace / "plots/comparison", tmp_path / "plots/comparison")
    (tmp_path / "plots/comparison/sizes.csv").unlink()
    text = PARAMS.read_text(encoding="utf-8")
    found = results.read_results(tmp_path / "metrics", tmp_path / "plots", tmp_path / "quarantine.csv")
    page = report_page.render_report(
        found,
        charts=illustrations.start_charts(found),
        manifest=pd.read_csv(workspace / "manifest.csv"),
        plots=tmp_path / "plots",
        provenance=PROVENANCE,
        trial=TRIAL,
        params=yaml.safe_load(text),
        params_text=text,
    )
    anchors = set(re.findall(r'href="#([a-z]+)"', page))
    assert anchors == set(re.findall(r'<h2 id="([a-z]+)"', page)) == {
        "curves", "results", "luck", "errors", "data", "again",
    }  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_browser_finds_no_fault(page: str, tmp_path: Path, width: int) -> None:
    """On phone, tablet and desktop: nothing on the console, all pictures shown, no sideways scrolling, no tiny text.

    Chromium's windows are at least 500 px wide, so the page stands in a frame, whose width its media queries go by.
    """
    probe = """<script>addEventListener("load", () => {
      const images = [...document.images], root = document.documentElement;
      const texts = [...document.querySelectorAll("p, li, td, th, figcaption, dd, small")];
      parent.postMessage({
        broken: images.filter(image => !image.naturalWidth).length,
        n: images.length,
        wide: root.scrollWidth - root.clientWidth,
        outside: images.filter(
              image => !image.closest(".scroll") && image.getBoundingClientRect().right > root.clientWidth + 1).length,
        smallest: Math.min(...texts.map(text => parseFloat(getComputedStyle(text).fontSize))),
        tall: images.some(image => (image.currentSrc || "") !== image.src),
      }, "*");
    })</script>"""
    frame = f"""<!doctype html><title>frame</title><link rel="icon" href="data:,"><script>addEventListener("message",
      event => document.documentElement.setAttribute("data-probe", JSON.stringify(event.data)))</script>
      <iframe src="report.html" style="border: 0; width: {width}px; height: 900px"></iframe>"""
    (tmp_path / "report.html").write_text(page.replace("</body>", probe + "</body>"), encoding="utf-8")
    (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width + 40},1000",
            "--virtual-time-budget=20000", "--dump-dom", (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    found = re.search(r'data-probe="([^"]+)"', done.stdout)
    assert found, done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert (seen["broken"], seen["wide"], seen["outside"]) == (0, 0, 0)
    assert seen["n"] >= 8
    assert seen["smallest"] >= 13
    assert seen["tall"] == (width <= 640), "narrow screens get the tall charts"
    assert "CONSOLE" not in done.stderr
