"""The train stage's arguments: what dvc.yaml's graph says of a variant fits what params.yaml says."""

from argparse import Namespace
from pathlib import Path

import pytest

from cvd.data.examples import find_input
from cvd.errors import InputError
from cvd.params import load_params
from stages.train import check_graph

ROOT = Path(__file__).parent.parent
VARIANTS = load_params(ROOT / "params.yaml").variants


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


@pytest.mark.parametrize("name", ["baseline", "augmented", "tfrecord", "transfer"])
def test_what_fits_passes(data: Path, name: str) -> None:
    variant = VARIANTS[name]
    reads = data / {"files": "images"}.get(variant.input, variant.input)
    check_graph(Namespace(variant=name, reads=reads, section="augment" if variant.augment else "image"), variant)


@pytest.mark.parametrize(
    ("given", "reads"), [("shards", "images"), ("features", "images"), ("files", "shards"), ("files", "features")]
)
def test_input_that_does_not_fit_the_graph(data: Path, given: str, reads: str) -> None:
    variant = VARIANTS["baseline"].model_copy(update={"input": given})
    with pytest.raises(InputError) as caught:
        check_graph(Namespace(variant="baseline", reads=data / reads, section="image"), variant)
    assert str(caught.value) == (
        f"variants.baseline.input is '{given}', but dvc.yaml's graph gives baseline data/{reads}: "
        'change its "reads" too'
    )


@pytest.mark.parametrize("section", ["train", "image", "backbone"])
def test_augmentation_needs_its_section(data: Path, section: str) -> None:
    with pytest.raises(InputError, match=r"variants\.augmented\.augment is true.*set `section: augment` for it there"):
        check_graph(Namespace(variant="augmented", reads=data / "images", section=section), VARIANTS["augmented"])
