"""The report as an instrument: what a person with keys, a pointer or neither can get out of it."""

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import browser
import numpy as np
import pandas as pd
import pytest
from report_project import VARIANTS, build, write_heats

from cvd.commands.evidence.labels import add_options
from cvd.report.instrument.curves import BOTTOM, TOP, draw_panels, list_values
from cvd.report.instrument.sprites import make_heat_sheet, make_photo_sheet
from cvd.report.instrument.wall import choose_paths, describe_image
from cvd.vis.explaining.geometry import Axis, Cells, find_box, lay_maps
from cvd.vis.explaining.heatmaps import read_heatmaps

KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "End": 35,
    "Home": 36,
    "Escape": 27,
    "Tab": 9,
}


@pytest.fixture(scope="module")
def chromium(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    if browser.CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    folder = tmp_path_factory.mktemp("chromium")
    (folder / "report.html").write_text(page, encoding="utf-8")
    opened = browser.Browser(folder / "profile")
    opened.show((folder / "report.html").as_uri(), width=1280)
    yield opened
    opened.close()


@pytest.fixture
def shown(chromium: browser.Browser) -> Iterator[browser.Browser]:
    """The page with all filters open and nothing chosen; no test may leave a complaint."""
    chromium.run("close(); controls.reset(); new Promise(done => setTimeout(done, 50))")
    yield chromium
    assert chromium.complaints == []


def press(page: browser.Browser, *keys: str) -> None:
    for key in keys:
        for kind in ("keyDown", "keyUp"):
            page.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])


def pick(page: browser.Browser, **values: str) -> None:
    """Choose values as a person does, by the fields."""
    for name, value in values.items():
        page.run(
            f"byId('{name}').value = '{value}'; byId('{name}').dispatchEvent(new Event('change', {{bubbles: true}}))"
        )


def read_tests(workspace: Path) -> dict[str, pd.DataFrame]:
    frames = {name: pd.read_csv(workspace / f"predictions/{name}.csv") for name in VARIANTS}
    return {name: frame[frame["split"] == "test"].reset_index(drop=True) for name, frame in frames.items()}


def list_shown(page: browser.Browser) -> list[str]:
    return page.run("shown.map(i => wall.path[i])")


def test_cross_hair_follows_the_keys(shown: browser.Browser) -> None:
    shown.run("byId('epoch').focus()")
    press(shown, "Home", "ArrowRight")
    assert shown.run("byId('epoch').getAttribute('aria-valuetext')").startswith("epoch 2: baseline 90.0% train, 70.0%")
    cells = shown.run("findAll('#at-epoch tr[data-variant=baseline] td').map(cell => cell.textContent)")
    assert cells == ["2", "90.0%", "70.0%", "+20.0", "0.350", "0.700"]
    assert shown.run("find('.curves [data-variant=baseline] .hair path').getAttribute('d')").startswith("M65.7")


def test_cross_hair_follows_the_pointer(shown: browser.Browser) -> None:
    shown.run("find('.curves').scrollIntoView()")
    x, y, width = shown.run("(r => [r.left, r.top + 20, r.width])(find('.curves svg').getBoundingClientRect())")
    shown.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + width * 38 / 240, y=y)
    assert shown.run("byId('epoch').value") == "1"
    shown.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + width * 231 / 240, y=y)
    assert shown.run("byId('epoch').value") == "8"


def test_cell_of_a_confusion_matrix_shows_its_images(shown: browser.Browser, workspace: Path) -> None:
    counts = json.loads((workspace / "metrics/baseline.json").read_text())["test"]["confusion"]
    shown.run('find(\'.matrix a[data-of=baseline][data-truth="0"][data-said="1"]\').focus()')
    shown.send("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    shown.wait("location.hash === '#wall'")
    test = read_tests(workspace)["baseline"]
    wanted = test[(test["label"] == 0) & (test["logit"] > 0)]["path"].tolist()
    assert list_shown(shown) == wanted
    assert len(wanted) == counts[0][1]
    assert shown.run("byId('count').textContent") == f"{len(wanted)} of 120 images"
    assert shown.run("list.children.length") == len(wanted)


@pytest.mark.parametrize("order", ["mistake", "doubt", "certain", "apart"])
def test_wall_is_sorted_as_predictions_say(shown: browser.Browser, workspace: Path, order: str) -> None:
    tests = read_tests(workspace)
    test = tests["augmented"]
    spread = pd.DataFrame({name: frame["probability"] for name, frame in tests.items()})
    keys = {
        "mistake": test["logit"] * (2 * test["label"] - 1),
        "doubt": test["logit"].abs(),
        "certain": -test["logit"].abs(),
        "apart": spread.min(axis=1) - spread.max(axis=1),
    }
    pick(shown, of="augmented", order=order)
    by_path = dict(zip(test["path"], keys[order], strict=True))
    found = [by_path[path] for path in list_shown(shown)]
    assert len(found) == 120
    assert np.diff(found).min() > -2e-3  # logits are rounded to three digits


def test_wall_is_filtered_by_right_and_wrong(shown: browser.Browser, workspace: Path) -> None:
    tests = read_tests(workspace)
    wrong = pd.DataFrame({name: (frame["logit"] > 0) != (frame["label"] == 1) for name, frame in tests.items()})
    paths = tests["baseline"]["path"]
    pick(shown, right="0")
    assert list_shown(shown) == paths[wrong.any(axis=1)].tolist()
    pick(shown, of="transfer")
    assert list_shown(shown) == paths[wrong["transfer"]].tolist()
    pick(shown, right="1", truth="1")
    assert list_shown(shown) == paths[~wrong["transfer"] & (tests["baseline"]["label"] == 1)].tolist()
    pick(shown, right="0", truth="0", said="0")
    assert shown.run("byId('count').textContent") == "No image is so: choose less."


def test_keys_walk_the_wall_and_open_the_card(shown: browser.Browser) -> None:
    shown.run("find('#controls button').focus()")
    press(shown, "Tab")
    assert shown.run("thumbs.indexOf(document.activeElement)") == 0
    press(shown, "ArrowRight", "ArrowRight")
    assert shown.run("[chosen, byId('card').hidden, byId('card-name').textContent]") == [2, False, "2.jpg"]
    across = shown.run("getComputedStyle(list).gridTemplateColumns.split(' ').length")
    press(shown, "ArrowDown", "ArrowLeft")
    assert shown.run("thumbs.indexOf(document.activeElement)") == across + 1
    press(shown, "End")
    assert shown.run("[chosen, document.activeElement.getAttribute('aria-current')]") == [119, "true"]
    visible = "(a => (b => b.top >= a.top - 1 && b.bottom <= a.bottom + 1)"
    assert shown.run(f"{visible}(thumbs[119].getBoundingClientRect()))(list.getBoundingClientRect())")
    press(shown, "Escape")
    assert shown.run("[byId('card').hidden, thumbs.indexOf(document.activeElement)]") == [True, 119]
    assert shown.run("findAll('#images [tabindex=\"0\"]').length") == 1, "one stop for the Tab key"


def test_card_says_what_the_networks_say(shown: browser.Browser, workspace: Path) -> None:
    shown.run("thumbs[7].click()")
    lines = shown.run("findAll('#card-answers li').map(line => line.innerText.replace(/\\s+/g, ' ').trim())")
    for line, (name, test) in zip(lines, read_tests(workspace).items(), strict=True):
        row = test.iloc[7]
        label, share = ("dog", row["probability"]) if row["logit"] > 0 else ("cat", 1 - row["probability"])
        is_wrong = bool((row["logit"] > 0) != (row["label"] == 1))
        assert line == f"{name} {label} {100 * share:.1f}%" + " wrong" * is_wrong
    assert shown.run("findAll('#card-views figure').length") == 2, "the image, and baseline's heat map"
    shown.run("thumbs[100].click()")
    assert shown.run("findAll('#card-views figure').length") == 1, "nothing explains it"


def test_decisions_about_labels_become_a_command(shown: browser.Browser) -> None:
    first, odd = shown.run("wall.path[7]"), "test/cat/it's a cat.jpg"
    shown.run(f"wall.suspicion[7] = wall.suspicion[8] = 0.9; wall.path[8] = {json.dumps(odd)}; thumbs[7].click()")
    shown.run("find('#card-decide [data-kind=relabel]').click()")
    assert shown.run("find('#card-decide [data-kind=relabel]').getAttribute('aria-pressed')") == "true"
    shown.run("thumbs[8].click()")
    assert shown.run("find('#card-decide [data-kind=relabel]').getAttribute('aria-pressed')") == "false"
    shown.run("find('#card-decide [data-kind=drop]').click()")
    parser = argparse.ArgumentParser()
    add_options(parser)
    command = shlex.split(shown.run("find('#corrections code').textContent"))
    assert command[:2] == ["cvd", "labels"]
    parsed = parser.parse_args(command[2:])
    assert (parsed.relabel, parsed.drop) == ([first], [odd])
    shown.run("find('#card-decide [data-kind=drop]').click(); thumbs[7].click()")
    shown.run("find('#card-decide [data-kind=relabel]').click()")
    assert shown.run("byId('corrections').hidden"), "what is taken back is not written"
    shown.run("thumbs[9].click()")
    assert shown.run("byId('card-decide').hidden"), "nothing was asked about this label"


def test_map_answers_to_keys_and_touch(shown: browser.Browser) -> None:
    shown.run("choose(0); byId('map').focus()")
    before = shown.run("points.get(chosen).cx.baseVal.value")
    press(shown, "ArrowRight")
    assert shown.run("points.get(chosen).cx.baseVal.value") > before
    assert shown.run("byId('count').textContent === thumbs[chosen].getAttribute('aria-label')")
    shown.run("points.get(30).scrollIntoView({block: 'center'})")
    x, y = shown.run("(r => [r.left + r.width / 2, r.top + r.height / 2])(points.get(30).getBoundingClientRect())")
    for kind in ("mousePressed", "mouseReleased"):
        shown.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    assert shown.run("[chosen, points.get(30).classList.contains('chosen')]") == [30, True]
    pick(shown, colour="baseline", right="1")
    assert shown.run("findAll('#map .dim').length + shown.length") == 120
    assert shown.run("findAll('#map .wrong').length") == shown.run(
        "thumbs.filter((_, i) => !isRight('baseline', i)).length"
    )


def test_without_script_the_answers_can_be_read(page: str) -> None:
    static = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert len(re.findall(r'class="thumb" role="img" aria-label="\d+, (?:cat|dog)\. baseline: ', static)) == 120
    assert static.count('<circle class="c') == 120
    assert re.search(r'<tr data-variant="transfer">.*?<td>90.0%</td><td>70.0%</td><td>\+20.0</td>', static)


def test_ids_are_unique(page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_wall_of_many_keeps_mistakes(workspace: Path) -> None:
    manifest = pd.read_csv(workspace / "manifest.csv")
    tests = {name: frame.set_index("path") for name, frame in read_tests(workspace).items()}
    chosen = choose_paths(manifest, tests, most=60)
    wrong = pd.DataFrame({name: (test["logit"] > 0) != (test["label"] == 1) for name, test in tests.items()}).any(
        axis=1
    )
    assert len(chosen) == 60
    assert len(set(chosen) & set(wrong[wrong].index)) >= min(30, int(wrong.sum()))
    assert chosen == [path for path in manifest["path"] if path in set(chosen)], "in the manifest's order"
    assert choose_paths(manifest, tests) == manifest["path"][:120].tolist()


def test_image_is_described_in_a_line() -> None:
    said = describe_image("test/cat/cat.12.jpg", 0, {"baseline": 2.0, "transfer": -3.0}, ("cat", "dog"))
    assert said == "cat.12, cat. baseline: dog 88%, wrong. transfer: cat 95%."


def test_tiles_lie_where_they_are_placed(workspace: Path) -> None:
    sheet = make_photo_sheet(workspace / "images", [f"{i}.jpg" for i in range(7)], most_bytes=10**6)
    assert (sheet.columns, sheet.rows, sheet.width, sheet.height) == (3, 3, 384, 384)
    assert [sheet.place(i) for i in (0, 1, 5)] == ["0% 0%", "50% 0%", "100% 50%"]
    small = make_photo_sheet(workspace / "images", [f"{i}.jpg" for i in range(7)], most_bytes=100)
    assert small.width == 144, "the smallest there is"


def test_heat_lies_where_the_map_does(tmp_path: Path) -> None:
    """A tile with its ring, stretched over the box, has its cells where `lay_maps` has them."""
    write_heats(tmp_path / "heatmaps/baseline.npz", ["a.jpg", "b.jpg"])
    heat = make_heat_sheet(read_heatmaps(tmp_path / "heatmaps/baseline.npz", "named"), ["c.jpg", "b.jpg"])
    assert heat is not None
    assert (heat.images, heat.sheet.columns, heat.sheet.rows) == ([1], 1, 1)
    left, top, width, height = heat.box
    assert (left, top) == pytest.approx((-0.2, -0.2))
    assert (width, height) == pytest.approx((1.4, 1.4))
    cells = Cells(Axis(19.0, 10.0), Axis(19.0, 10.0), (100, 100))  # tiles from 14.5 to 64.5 px
    maps = np.zeros((1, 5, 5), np.float32)
    maps[0, 1, 3] = 1
    hottest = np.unravel_index(lay_maps(maps, cells)[0].argmax(), (100, 100))
    left, top, width, height = find_box(cells, (5, 5), ring=1)
    assert 100 * (top + height * 2.5 / 7) == pytest.approx(hottest[0] + 0.5)
    assert 100 * (left + width * 4.5 / 7) == pytest.approx(hottest[1] + 0.5)
    assert make_heat_sheet(read_heatmaps(tmp_path / "heatmaps/baseline.npz", "named"), ["c.jpg"]) is None


def test_curves_are_drawn_on_common_axes() -> None:
    frame = pd.DataFrame({"epoch": [1, 2, 3], "accuracy": [0.5, 0.75, 1.0], "val_accuracy": [0.5, 0.6, 0.6]})
    frame = frame.assign(loss=[0.8, 0.4, 0.0], val_loss=[0.8, 0.5, float("nan")])
    accuracy, loss = draw_panels({"a": frame})["a"]
    assert (accuracy.low, accuracy.high, loss.low, loss.high) == (0.5, 1.0, 0.0, 0.8)
    assert accuracy.train == f"M38.0 {BOTTOM:.1f}L135.0 {(TOP + BOTTOM) / 2:.1f}L232.0 {TOP:.1f}"
    assert loss.best == (135.0, 54.5)
    assert [text for _, text in accuracy.marks] == ["50%", "75%", "100%"]
    assert list_values({"a": frame})["a"]["val_loss"] == [0.8, 0.5, None]


def test_wall_says_what_is_there(workspace: Path, tmp_path: Path) -> None:
    full, bare = build(workspace, workspace), build(workspace, tmp_path)
    assert (full.n_mapped, list(full.heats), len(full.heats["baseline"].images)) == (120, ["baseline"], 60)
    assert (bare.n_mapped, bare.heats) == (0, {})
    assert "colour" not in bare.list_choices()
    assert "suspect" not in dict(full.list_choices()["order"][1])
