"""A network of one's own is one file: its keys are read from it, and the documented one goes all the way."""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from tiny_project import ROOT, commit, ran_stages, run

from cvd.runtime.errors import InputError
from cvd.runtime.params import networks
from cvd.runtime.params.loading import parse_params

PAGE = (ROOT / "docs/own-network.md").read_text()
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
RAW: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of networks, as it is read, with the documented one."""
    shutil.copytree(networks.FOLDER, tmp_path / "scratch")
    (tmp_path / "scratch/pocket.py").write_text(CODE)
    monkeypatch.setattr(networks, "FOLDER", tmp_path / "scratch")
    return tmp_path / "scratch"


def read_block(**block: object) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    raw["variants"]["mine"] = block
    return parse_params(raw).variants["mine"].model_dump()


def test_keys_are_the_functions_parameters(folder: Path) -> None:
    baseline = {key: value for key, value in RAW["variants"]["baseline"].items() if key != "depth"}
    expected = baseline | {"network": "pocket", "blocks": 5}
    assert read_block(like="baseline", network="pocket", blocks=5) == expected, "the depth of plain stays behind"
    (folder / "pocket.py").write_text(CODE.replace("width: int", "width: int, l2: float, fast: bool"))
    assert read_block(like="baseline", network="pocket", blocks=5, fast=True) == expected | {"fast": True}


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"bloks": 2}, "variants.mine.bloks is unknown"),
        ({"depth": 2}, "variants.mine.depth: does not fit network 'pocket', which takes input, network, "),
        ({}, "variants.mine.blocks is missing"),
        ({"blocks": "two"}, "variants.mine.blocks is 'two': input should be a valid integer"),
        ({"width": 0.5}, "variants.mine.width is 0.5: input should be a valid integer"),
        ({"input": "features"}, "variants.mine.input is 'features'"),
        ({"network": "poket"}, "variants.mine.network is 'poket': should be 'dense', 'plain', 'pocket', 'residual' or"),
        ({"network": "../pocket"}, "variants.mine.network is '../pocket': should be 'dense'"),
        ({"network": ["pocket"]}, "variants.mine.network is ['pocket']: input should be a valid string"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(folder: Path, block: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_block(**{"like": "baseline", "network": "pocket", **block})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def build_pocket(", "def build_poket(", "cvd/models/scratch/pocket.py has no function build_pocket"),
        ("def build_pocket(", "def build_pocket(:", "cvd/models/scratch/pocket.py is not Python: "),
        ("dropout: float, ", "", "build_pocket lacks the parameter dropout"),
        ("width: int", "width: list[int]", "pocket.py, line 6: width should be int, float, bool or str, or Annotated"),
        ("width: int", "width", "pocket.py, line 6: width should be int"),
        ("blocks: int", "blocks: Annotated[int, Field(min=1)]", "pocket.py, line 6: blocks should be int"),
        ("blocks: int", "blocks: Annotated[int, Field(ge='1')]", "pocket.py, line 6: blocks should be int"),
        ("blocks: int", "blocks: int = 3", "variants.mine.blocks is missing"),
        ("*, size_px: int,", "size_px: int, /,", "build_pocket lacks the parameter size_px"),
        ("The pocket network", "\udce9", "cvd/models/scratch/pocket.py is not Python: "),
        ("width: int", "copy: int", "pocket.py: 'copy' cannot be a key in params.yaml: rename it"),
        ("width: int", "width: Annotated[int, Field(ge=33)]", "variants.mine.width is 32: input should be greater"),
        ("width: int", "steps: int", "variants.mine.steps is missing"),
    ],
)
def test_a_function_that_cannot_be_read_is_named(folder: Path, old: str, new: str, said: str) -> None:
    assert old in CODE
    (folder / "pocket.py").write_text(CODE.replace(old, new), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError) as caught:
        read_block(like="baseline", network="pocket")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_no_block_names_is_not_read(folder: Path) -> None:
    (folder / "broken.py").write_text("def")
    assert parse_params(RAW).variants["baseline"].network == "plain"


@pytest.fixture(scope="module")
def project(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("own") / "project"
    shutil.copytree(prepared, target, symlinks=True)
    commit(target, "results")
    yield target
    shutil.rmtree(target)


@pytest.mark.pipeline
def test_documented_network_is_trained_measured_drawn_and_reported(project: Path) -> None:
    (project / "cvd/models/scratch/pocket.py").write_text(CODE)
    add, _, compare = (line.partition("#")[0].split() for line in COMMANDS.splitlines())
    run(*add, cwd=project, PYTHONPATH=str(project))
    # Else all networks from scratch are trained again, as the page says.
    run("cvd", "remove", "baseline", "augmented", "tfrecord", cwd=project, PYTHONPATH=str(project))
    drawn = ("activations", "filters", "explanations", "gradcam", "mistakes")
    done = run("dvc", "repro", "report", cwd=project)
    assert ran_stages(done) == {
        *(f"{stage}@pocket" for stage in ("train", "evaluate", *drawn)),
        *("check", "compare", "side_by_side", "report"),
    }
    figures = json.loads((project / "metrics/pocket.json").read_text())
    # Convolutions of 8, 16, 24 filters, four values of BatchNorm for each, and the logit.
    n_kernels = sum(9 * before * after + after for before, after in ((3, 8), (8, 16), (16, 24)))
    assert figures["training"]["parameters"] == n_kernels + 4 * (8 + 16 + 24) + 25
    assert len(pd.read_csv(project / "predictions/pocket.csv")) == 2 * 13
    for stage in ("activations", "filters", "gradcam"):
        assert list((project / "plots" / stage / "pocket").glob("*.png")), stage
    assert (project / "plots/mistakes/pocket.png").is_file()
    assert "pocket" in (project / "plots/report.html").read_text()
    assert "pocket" in run("cvd", *compare[1:2], "transfer", "pocket", cwd=project, PYTHONPATH=str(project)).stdout
