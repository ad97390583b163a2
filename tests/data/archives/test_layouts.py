"""cvd.data.archives.layouts."""

import pytest

from cvd.data.archives.layouts import find_label, find_mask, is_junk, make_stem


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat.0.jpg", 0),
        ("train/dog.12499.jpg", 1),
        ("a/b/c/cat.7.jpg", 0),
        ("train.zip/train/dog.3.jpg", 1),
        ("PetImages/Cat/666.jpg", 0),
        ("PetImages/Dog/11702.jpg", 1),
        ("cats_and_dogs_filtered/validation/dogs/dog.2000.jpg", 1),
        ("cats-vs-dogs/CATS/x.png", 0),
        ("dogs/puppies with ball/1.jpg", 1),
        ("data/train_cats/1.jpg", 0),
        ("CatImages/1.jpg", 0),
        ("0-cat/1.jpg", 0),
        ("1. Dogs/1.jpg", 1),
        ("kittens/1.jpg", 0),
        ("dogs/cat-like/1.jpg", 1),
        ("DOG (12).JPG", 1),
        ("cat_tom.jpg", 0),
        ("Cats/dogbert.jpg", 0),
    ],
)
def test_label_is_found(name: str, label: int) -> None:
    assert find_label(name).label == label


@pytest.mark.parametrize(
    "name", ["test1/1.jpg", "category/1.jpg", "catalogue.jpg", "dogs-vs-cats/1.jpg", "hotdog/1.jpg"]
)
def test_no_label(name: str) -> None:
    found = find_label(name)
    assert found.label is None
    assert found.reason == "no_label"


@pytest.mark.parametrize("name", ["cats/dog.1.jpg", "train/Dog/cat_12.jpg"])
def test_contradiction(name: str) -> None:
    assert find_label(name).reason == "conflicting_label"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("train/cat.12.jpg", "cat.12"),
        ("PetImages/Cat/12.jpg", "cat.12"),
        ("cats/Tom & Jerry!.png", "cat.Tom_Jerry"),
        ("cats/../../etc/passwd", "cat.passwd"),
        ("Cat (3).JPG", "cat.3"),
        ("cats/猫.jpg", "cat.image"),
        ("cats/" + "x" * 300 + ".jpg", "cat." + "x" * 60),
        ("cats/.jpg", "cat.image"),
        ("cats/a\\nb.jpg", "cat.a_nb"),
    ],
)
def test_stem(name: str, stem: str) -> None:
    assert make_stem(name, "cat") == stem


def test_junk_and_masks() -> None:
    assert is_junk("__MACOSX/train/._cat.0.jpg")
    assert is_junk("PetImages/Cat/Thumbs.db")
    assert is_junk(".DS_Store")
    assert not is_junk("cat.0.jpg")
    assert find_mask("masks/head/cat.0.png") == ("head", "cat.0")
    assert find_mask("masks/animal/cat/cat.0.png") == ("animal", "cat/cat.0")
    assert find_mask("masks/tail/cat.0.png") is None
