"""params.yaml is valid, and what is wrong in one is said in one line."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from cvd.runtime.errors import InputError
from cvd.runtime.params.loading import load_params, parse_params
from cvd.runtime.params.variants import find_kind

ROOT = Path(__file__).parent.parent
RAW: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
REST = {key: value for key, value in RAW["split"].items() if key not in ("train", "validation", "test")}


def changed(path: str, value: object) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    section = raw
    *parents, last = path.split(".")
    for name in parents:
        section = section[name]
    section[last] = value
    return raw


def test_shipped_params_are_valid_and_frozen() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.augment.rotation_degrees == 40
    assert set(params.variants) >= {"baseline", "augmented", "tfrecord", "transfer"}
    with pytest.raises(pydantic.ValidationError):
        params.seed = 2


def test_tfrecord_differs_from_baseline_in_its_input_only() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.variants["tfrecord"].model_copy(update={"input": "files"}) == params.variants["baseline"]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("augment.rotation", 3, ["augment.rotation ", "unknown"]),
        ("augment.rotation_degrees", 500, ["augment.rotation_degrees", "500", "180"]),
        ("augment.rotation_degrees", "much", ["augment.rotation_degrees", "'much'", "number"]),
        ("augment.erase_fraction", -0.1, ["augment.erase_fraction", "-0.1", "0"]),
        ("augment.brightness_fraction", 2, ["augment.brightness_fraction", "2", "1"]),
        ("augment.mixup_alpha", 11, ["augment.mixup_alpha", "11", "10"]),
        ("augment.cutmix_alpha", "some", ["augment.cutmix_alpha", "'some'", "number"]),
        ("augment.horizontal_flip", 3, ["augment.horizontal_flip", "3", "boolean"]),
        ("data.source", "kagle", ["data.source", "'kagle'", "drawn"]),
        ("data.source", "url", ["data: source 'url' needs data.url, which is null"]),
        ("data.url", "ftp://host/a.zip", ["data.url", "'ftp://host/a.zip'"]),
        ("data.url", "https:///a.zip", ["data.url", "'https:///a.zip'"]),
        ("data.url", "https://host/a b.zip", ["data.url", "'https://host/a b.zip'"]),
        ("data.sha256", "b7974bd0", ["data.sha256", "'b7974bd0'"]),
        ("data.sha256", "g" * 64, ["data.sha256", "g" * 64]),
        ("split.validation", 0, ["split.validation", "0", "1"]),
        ("split.validation", None, ["split.validation", "None"]),
        ("split.validation", 1.0, ["split.validation is 1.0", "images of each class, 1 or more, or a share of them"]),
        ("split.train", "0.5", ["split.train is '0.5'", "a share of them, above 0 and below 1"]),
        ("split.test", True, ["split.test is True", "1 or more"]),
        ("split.label_noise", 0.6, ["split.label_noise", "0.6", "0.5"]),
        ("split.group_duplicates", 1, ["split.group_duplicates", "1", "boolean"]),
        ("data.drawn.shortcut", 1.5, ["data.drawn.shortcut", "1.5", "1"]),
        ("data.drawn.leak", -0.1, ["data.drawn.leak", "-0.1", "0"]),
        (
            "split",
            {"train": 0.7, "validation": 0.2, "test": 0.2, **REST},
            ["split: the shares train 0.7 + validation 0.2 + test 0.2 add up to 1.1, more than 1"],
        ),
        (
            "split",
            {"train": None, "validation": 0.1, "test": 0.9, **REST},
            ["split: the shares validation 0.1 + test 0.9 add up to 1, which leaves no image for the others"],
        ),
        ("variants.augmented.dropout", 1.0, ["variants.augmented.dropout", "0.95"]),
        ("variants.transfer.augment", True, ["variants.transfer: augment true needs images", "'features'"]),
        ("variants.transfer.unfreeze", 2, ["variants.transfer: unfreeze 2 needs images", "'features'"]),
        ("variants.transfer.pretrained", False, ["variants.transfer: pretrained false needs images", "'features'"]),
        ("variants.transfer.input", "shards", ["variants.transfer.input is 'shards'", "'files' or 'features'"]),
        ("variants.baseline.input", "features", ["variants.baseline.input is 'features'", "'files' or 'shards'"]),
        ("variants.residual.input", "features", ["variants.residual.input is 'features'", "'files' or 'shards'"]),
        ("variants.baseline.weight_decay", 0.1, ["variants.baseline: weight_decay 0.1", "'rmsprop'", "l2"]),
        (
            "variants.baseline.unfreeze",
            1,
            ["variants.baseline.unfreeze: does not fit network 'plain'", " width, depth"],
        ),
        ("variants.transfer.width", 8, ["variants.transfer.width: does not fit network 'backbone'", "unfreeze"]),
        ("variants.baseline.network", "backbone", ["variants.baseline.width: does not fit network 'backbone'"]),
        ("variants.baseline.network", "vgg", ["variants.baseline.network is 'vgg'", "'plain'", "or 'backbone'"]),
        ("variants.baseline.widht", 8, ["variants.baseline.widht is unknown"]),
        ("variants.baseline.width", 0, ["variants.baseline.width is 0", "1"]),
        ("variants.baseline.patience", 0, ["variants.baseline.patience is 0", "1"]),
        ("variants.baseline.warmup_fraction", 1, ["variants.baseline.warmup_fraction is 1", "0.9"]),
        ("variants.extra", {"input": "files"}, ["variants.extra.network is missing"]),
        ("variants.extra", {"network": "plain"}, ["variants.extra.input is missing"]),
        ("variants.extra", 3, ["variants.extra is 3: should be a section with input, network, "]),
        ("backbone.weights", "torchvision", ["EfficientNetLite0", "'imagenet'", "a .pth file, not 'torchvision'"]),
        ("backbone.weights", "vgg16.h5", ["EfficientNetLite0", "'random'", "a .pth file, not 'vgg16.h5'"]),
        ("variants.small.like", "nobody", ["variants.small.like is 'nobody'", "must name one of baseline, augmented"]),
        ("variants.small.like", "small", ["variants.small.like is 'small'", "must name one of"]),
        ("variants.small.like", ["baseline"], ["variants.small.like is ['baseline']", "must name one of"]),
        ("variants.extra", {"like": "fine_tuned"}, ["extra.like goes 3 blocks deep (extra > fine_tuned > transfer_"]),
        ("variants.small.widht", 8, ["variants.small.widht is unknown"]),
        ("variants.baseline.share", 0, ["variants.baseline.share is 0", "greater than 0"]),
        ("variants.fine_tuned.starts_from", "small", ["fine_tuned.starts_from is 'small'", "another of the backbone"]),
        ("variants.fine_tuned.starts_from", "nobody", ["fine_tuned.starts_from names 'nobody'"]),
        ("variants.fine_tuned.pretrained", False, ["pretrained false", "starts_from is 'transfer'"]),
        ("variants.transfer.head", "imagenet", ["head 'imagenet' learns nothing and needs dropout 0, not 0.5"]),
        ("variants.zero_shot.epochs", 2, ["variants.zero_shot: head 'imagenet'", "epochs 1, not 2"]),
        ("seed", -1, ["seed", "-1"]),
        ("augment", 3, ["augment is 3: should be a section with rotation_degrees, "]),
        ("gradcam.variants", ["baseline"], ["gradcam.variants is unknown"]),
        ("backbone.name", "VGG17", ["backbone.name is 'VGG17'", "'EfficientNetLite0'", "'VGG16'"]),
        ("gradcam.images", "x.jpg", ["gradcam.images is 'x.jpg': should be a number of images, 1 to 1000, or a list"]),
        ("augmentations.images", 0, ["augmentations.images is 0: should be a number of images, 1 to 1000, or a list"]),
        ("variants.baseline.depth", 6, ["variants.baseline.depth is 6", "image.size_px", "at least 190", "it is 150"]),
        ("variants.a/b", RAW["variants"]["small"], ["variants has 'a/b'", "letters, digits"]),
        ("variants.", RAW["variants"]["small"], ["variants has ''"]),
        ("variants.data", RAW["variants"]["small"], ["variants has 'data'", "metrics/data.json is another file"]),
        ("variants", {}, ["variants is {}: should hold at least one entry"]),
        ("variants", None, ["variants is None: should be a section of names"]),
    ],
)
def test_faults_are_named_in_one_line(path: str, value: object, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_params(changed(path, value))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_sizes_of_splits_are_counts_or_shares() -> None:
    for sizes in ((0.7, 0.1, 0.2), (None, 0.1, 0.2), (1000, 0.5, 1), (0.1, 0.7, 0.2)):
        values = dict(zip(("train", "validation", "test"), sizes, strict=True)) | REST
        assert parse_params(changed("split", values)).split.model_dump() == values


def test_whole_blocks_of_a_network_hold_the_same_keys() -> None:
    """So that `-S variants.NAME.KEY=` works in each of them without a plus."""
    whole = {name: block for name, block in RAW["variants"].items() if "like" not in block}
    assert set(whole) == {"baseline", "augmented", "tfrecord", "transfer"}
    assert len({tuple(whole[name]) for name in ("baseline", "augmented", "tfrecord")}) == 1
    for block in whole.values():
        kind = find_kind(block["network"])
        assert kind is not None
        assert set(block) == set(kind.model_fields)


@pytest.mark.parametrize("name", [name for name, block in RAW["variants"].items() if "like" in block])
def test_derived_block_states_only_what_differs(name: str) -> None:
    params = load_params(ROOT / "params.yaml")
    block, other = RAW["variants"][name], params.variants[RAW["variants"][name]["like"]].model_dump()
    assert not {key for key, value in block.items() if key != "like" and other.get(key) == value}


def test_like_is_resolved_two_deep() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.trace("fine_tuned") == ["fine_tuned", "transfer_augmented", "transfer"]
    fine_tuned, transfer = params.variants["fine_tuned"].model_dump(), params.variants["transfer"].model_dump()
    differing = {key for key in transfer if fine_tuned[key] != transfer[key]}
    assert differing == {"input", "augment", "starts_from", "unfreeze", "learning_rate", "schedule", "epochs"}
    assert parse_params(changed("variants.baseline.epochs", 7)).variants["baseline_half"].epochs == 7


def test_sources_of_the_net() -> None:
    address, sha256 = "http://127.0.0.1:8000/a.zip?x=1", "0aF" * 21 + "0"
    given = {"source": "url", "url": address, "sha256": sha256}
    data = parse_params(changed("data", RAW["data"] | given)).data
    assert (data.source, data.url, data.sha256) == ("url", address, sha256)
    with pytest.raises(InputError, match=r"source .url. needs data\.sha256, which is null"):
        parse_params(changed("data", RAW["data"] | given | {"sha256": None}))
    for source in ("microsoft", "filtered", "kaggle"):
        assert parse_params(changed("data.source", source)).data.url is None


def test_absent_keys_are_named() -> None:
    raw = copy.deepcopy(RAW)
    del raw["augment"]["zoom_fraction"]
    with pytest.raises(InputError, match=r"augment\.zoom_fraction is missing"):
        parse_params(raw)


def test_files_that_are_no_params(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_params(tmp_path / "absent.yaml")
    broken = tmp_path / "params.yaml"
    broken.write_text("seed: [1\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_params(broken)
    broken.write_text("")
    with pytest.raises(InputError, match=r"params\.yaml is empty: it should hold the sections seed, data, .*gradcam"):
        load_params(broken)
    broken.write_text("- seed\n")
    with pytest.raises(InputError, match=r"params\.yaml is \['seed'\]: should be a section with seed, data"):
        load_params(broken)


@pytest.mark.parametrize("given", ["0.00001", "1e-5", "1e-05", "1.0e-5", "1E-5", ".1e-4", "1.e-5", "+1e-5"])
def test_small_numbers_stay_numbers_as_dvc_writes_them(tmp_path: Path, given: str) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(tmp_path / "params.yaml", [f"variants.augmented.learning_rate={given}"])
    assert load_params(tmp_path / "params.yaml").variants["augmented"].learning_rate == 1e-5


@pytest.mark.parametrize("written", ["1e-05", "1e-5", "0.00001", "1.0e-05", "10e-06", ".1e-4"])
def test_small_numbers_by_hand(tmp_path: Path, written: str) -> None:
    text = (ROOT / "params.yaml").read_text()
    assert "learning_rate: 1.0e-4" in text
    (tmp_path / "params.yaml").write_text(text.replace("learning_rate: 1.0e-4", f"learning_rate: {written}"))
    params = load_params(tmp_path / "params.yaml")
    assert params.variants["baseline"].learning_rate == pytest.approx(1e-5)
    shipped = load_params(ROOT / "params.yaml")
    assert params.model_dump(exclude={"variants"}) == shipped.model_dump(exclude={"variants"})
