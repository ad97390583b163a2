"""The report: one file that needs nothing else, honest headlines, and a browser that finds no fault in it."""

import html
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_project import TRIAL, render, write_picture

from cvd.report import exports, pictures, results
from cvd.report import page as report_page
from cvd.report.provenance import Trial
from cvd.runtime.errors import InputError

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
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
    assert [attributes for tag, attributes in outline.tags if tag == "script"] == [
        {"type": "application/json", "id": "record"},
        {},
    ]
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
    assert pictures.name_picture(Path("v/conv1.png"), "v", ("cat", "dog")) == "layer conv1"
    assert pictures.name_picture(Path("v/test_cat_cat.4.png"), "v", ("cat", "dog")) == "cat.4, a cat of the test images"
    assert pictures.name_picture(Path("v.png"), "v", ("cat", "dog")) == ""
    assert (
        pictures.name_picture(Path("disagreements.png"), "", ("cat", "dog")) == "images on which the networks disagree"
    )
    small = pictures.encode_picture(chosen[0], most_bytes=40_000)
    assert len(small.uri) <= 40_000
    assert small.width < 900
    assert pictures.encode_picture(chosen[0], most_bytes=10**7).width == 900


def test_no_size_that_fits_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    path, steps = Path(__file__).parents[2] / "docs/drawn.png", pictures.STEPS
    alone = []
    for step in steps:
        monkeypatch.setattr(pictures, "STEPS", (step,))
        alone.append(pictures.encode_picture(path, most_bytes=1))
    monkeypatch.setattr(pictures, "STEPS", steps)
    for picture in alone:
        assert pictures.encode_picture(path, most_bytes=len(picture.uri) + 40).width >= picture.width


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
    sections = {
        section["name"]: section
        for section in exports.collect_exports(tmp_path, ["baseline", "augmented"], ("cat", "dog"))
    }
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
    page = render(workspace, tmp_path)
    anchors = set(re.findall(r'href="#([a-z]+)"', page))
    assert anchors == set(re.findall(r'<h2 id="([a-z]+)"', page)) == {
        "curves", "results", "luck", "errors", "wall", "data", "again",
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
