"""The train stage's arguments: what dvc.yaml's graph says of a variant fits its block, or is refused at once."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from stages import train as stage

ROOT = Path(__file__).parent.parent
GRAPH: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["vars"][0]["graph"]


def list_options(name: str, **changed: str) -> list[str]:
    """The stage's options as dvc.yaml gives them, but for some."""
    outputs = {key: f"models/{name}.{key}" for key in stage.OUTPUTS}
    options = {"variant": name, **GRAPH[name], "manifest": "data/manifest.csv", **outputs} | changed
    return [part for key, value in options.items() for part in (f"--{key}", value)]


@pytest.mark.parametrize("name", ["baseline", "augmented", "tfrecord", "transfer"])
def test_what_does_not_fit_is_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    other = "transfer" if name == "baseline" else "baseline"
    for key in ("reads", "network", "pixels", "section", "like", "base"):
        if GRAPH[other][key] == GRAPH[name][key]:
            continue
        monkeypatch.setattr(sys, "argv", ["train", *list_options(name, **{key: GRAPH[other][key]})])
        with pytest.raises(SystemExit) as caught:
            stage.main()
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{name} `{key}: {GRAPH[other][key]}`" in line
        assert f"`{key}: {GRAPH[name][key]}`" in line
