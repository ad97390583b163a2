"""The train stage's arguments: what the graph says of a variant fits what params.yaml says."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvd.data.examples.reading import find_input
from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import load_params
from stages.train import check_graph

ROOT = Path(__file__).parent.parent
VARIANTS = load_params(ROOT / "params.yaml").variants
MORE = yaml.safe_load((ROOT / "more.yaml").read_text())
GRAPH: dict[str, dict[str, str]] = {
    **yaml.safe_load((ROOT / "dvc.yaml").read_text())["vars"][0]["graph"],
    **MORE["optional"],
}


def arrange(name: str, **changed: str) -> Namespace:
    """The stage's arguments as the graph gives them, but for some."""
    entry = GRAPH[name] | changed
    return Namespace(variant=name, **entry | {key: Path(entry[key]) for key in ("reads", "network")})


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The three kinds of input, as the stages lay them out."""
    monkeypatch.chdir(tmp_path)
    for name in ("images/train/cat/cat.0.jpg", "shards/index.json", "shards/train-00000-of-00001.tfrecord",
                 "features/index.json", "features/train.npy", "other/notes.txt"):  # fmt: skip
        path = Path("data", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path("data")


def test_inputs_are_told_apart(data: Path) -> None:
    kinds = {name: find_input(data / name) for name in ("images", "shards", "features", "other", "absent")}
    assert kinds == {"images": "files", "shards": "shards", "features": "features", "other": None, "absent": None}


def test_every_variant_has_its_place_in_the_graph() -> None:
    assert set(GRAPH) == set(VARIANTS)
    assert MORE["graph"] == {}, "a variant that is off would be run by default"


@pytest.mark.parametrize("name", GRAPH)
def test_what_fits_passes(data: Path, name: str) -> None:
    check_graph(arrange(name), VARIANTS[name])


@pytest.mark.parametrize(
    ("name", "block", "entry", "words"),
    [
        ("baseline", {"input": "shards"}, {}, ["input is 'shards'", "data/images", "`reads: data/shards`"]),
        ("baseline", {}, {"reads": "data/shards"}, ["input is 'files'", "data/shards", "`reads: data/images`"]),
        ("transfer", {"input": "files"}, {}, ["input is 'files'", "data/features", "`reads: data/images`"]),
        ("residual", {}, {"network": "cvd/models/plain.py"}, ["network is 'residual'", "cvd/models/residual.py`"]),
        ("baseline", {}, {"network": "models/backbone"}, ["network is 'plain'", "cvd/models/plain.py`"]),
        ("transfer", {}, {"network": "cvd/models/plain.py"}, ["network is 'backbone'", "`network: models/backbone`"]),
        ("fine_tuned", {"pretrained": False}, {}, ["pretrained is false", "transfer.keras", "models/backbone`"]),
        ("fine_tuned", {}, {"pixels": "image"}, ["network is 'backbone'", "'image'", "`pixels: backbone`"]),
        ("baseline", {}, {"pixels": "backbone"}, ["network is 'plain'", "'backbone'", "`pixels: image`"]),
        ("augmented", {}, {"section": "image"}, ["augment is true", "'image'", "`section: augment`"]),
        ("transfer_augmented", {}, {"section": "backbone"}, ["augment is true", "'backbone'", "`section: augment`"]),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    data: Path, name: str, block: dict[str, Any], entry: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        check_graph(arrange(name, **entry), VARIANTS[name].model_copy(update=block))
    message = str(caught.value)
    assert message.startswith(f"variants.{name}.")
    assert "\n" not in message
    for word in [*words, "the graph in dvc.yaml or more.yaml"]:
        assert word in message
