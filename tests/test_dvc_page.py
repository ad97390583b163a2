"""DVC's own page: its charts are drawn without network, and it shows pictures of each network."""

import os
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml
from browser import CHROMIUM, Browser
from dvc_render.html import render_html
from dvc_render.vega import VegaRenderer

ROOT = Path(__file__).resolve().parent.parent
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
REMOTE = "performance.getEntriesByType('resource').map(e => e.name).filter(name => !name.startsWith('file:'))"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    tab = Browser(tmp_path / "profile")
    yield tab
    tab.close()


def read_template() -> Path:
    config = ConfigParser()
    config.read(ROOT / ".dvc/config")
    return ROOT / ".dvc" / config["plots"]["html_template"]


def list_plots(stage: str) -> dict[str, dict[str, str]]:
    return {path: settings for entry in DVC["stages"][stage]["do"]["plots"] for path, settings in entry.items()}


def draw_page(folder: Path) -> str:
    """What `dvc plots show` does with a chart of each template; gives the page's address."""
    rows = [
        {"epoch": str(epoch), "accuracy": str(accuracy), "n": "3", "variant": "small", "rev": "workspace"}
        for epoch, accuracy in ((1, 0.5), (2, 1.0))
    ]
    charts = [
        VegaRenderer(rows, template, x="epoch", y="accuracy", template=template, template_dir=str(ROOT / ".dvc/plots"))
        for template in ("curves", "confusion_by_variant")
    ]
    page = folder / "dvc_plots/index.html"
    render_html(charts, page, html_template=read_template())
    return page.as_uri()


def test_charts_are_drawn_without_network(tmp_path: Path, browser: Browser) -> None:
    charts = tmp_path / ".venv/charts.js"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["make", "-s", f"VENV={charts.parent}", str(charts)], cwd=ROOT, env=os.environ | {"PATH": path}, check=True
    )
    browser.show(draw_page(tmp_path), width=1200)
    browser.wait("document.querySelectorAll('svg.marks').length === 2")
    orange = "#bd4b00"  # the first colour of .dvc/plots/curves.json
    curve = browser.run(f"document.querySelector('svg.marks path[stroke=\"{orange}\"]').getAttribute('d')")
    assert curve == "M0,300L480,0"  # from its lowest and first point to its highest and last
    assert browser.run(REMOTE) == []
    assert not [text for text in browser.complaints if "net::" in text or "exception" in text]


def test_page_asks_the_network_only_where_the_environment_lacks_the_charts(tmp_path: Path, browser: Browser) -> None:
    browser.send("Network.setBlockedURLs", urls=["https://*"])
    browser.show(draw_page(tmp_path), width=1200)
    asked = browser.run(
        "[...document.head.querySelectorAll('script')].map(s => s.src).filter(s => s.startsWith('https:'))"
    )
    assert [address.split("/npm/")[1].split("@")[0] for address in asked] == ["vega", "vega-lite", "vega-embed"]


def test_page_shows_where_each_network_looks_and_errs() -> None:
    """As `plots` of their stages: what is listed at the top, `dvc exp save` adds to git, photos and all."""
    pictures = {path: settings for name in ("gradcam", "mistakes") for path, settings in list_plots(name).items()}
    assert pictures == {
        "plots/gradcam/${key}": {"remote": "private"}, "plots/mistakes/${key}.png": {"remote": "private"}
    }  # fmt: skip
