"""cvd.data.archives.layouts."""

from typing import Literal

import pytest

from cvd.data.archives.layouts import Layout, choose_classes, find_mask, is_junk
from cvd.runtime.errors import InputError

LAYOUT = Layout(("cat", "dog"))


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
    assert LAYOUT.find_label(name).label == label


@pytest.mark.parametrize(
    "name", ["test1/1.jpg", "category/1.jpg", "catalogue.jpg", "dogs-vs-cats/1.jpg", "hotdog/1.jpg"]
)
def test_no_label(name: str) -> None:
    found = LAYOUT.find_label(name)
    assert found.label is None
    assert found.reason == "no_label"


@pytest.mark.parametrize("name", ["cats/dog.1.jpg", "train/Dog/cat_12.jpg"])
def test_contradiction(name: str) -> None:
    assert LAYOUT.find_label(name).reason == "conflicting_label"


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
    assert LAYOUT.make_stem(name, "cat") == stem


@pytest.mark.parametrize(
    ("classes", "name", "label"),
    [
        (("horse", "zebra"), "zoo/Zebras/1.jpg", 1),
        (("horse", "zebra"), "horse (3).png", 0),
        (("fox", "puppy"), "foxes/1.jpg", 0),
        (("fox", "puppy"), "train_puppies/1.jpg", 1),
        (("cats", "dogs"), "cat/1.jpg", 0),
        (("golden_retriever", "t-shirt"), "Golden Retriever/1.jpg", 0),
        (("golden_retriever", "t-shirt"), "GoldenRetriever.12.jpg", 0),
        (("golden_retriever", "t-shirt"), "test/T-Shirts/1.jpg", 1),
        (("tumor", "no_tumor"), "no tumor/1.jpg", 1),
        (("tumor", "no_tumor"), "tumor/1.jpg", 0),
        (("cat", "catfish"), "catfish.1.jpg", 1),
        (("type1", "type2"), "type 2/1.jpg", 1),
        (("pet", "image"), "pet/1.jpg", 0),
        (("Käse", "Brot"), "käse/1.jpg", 0),
    ],
)
def test_other_classes_have_the_same_spellings(classes: tuple[str, str], name: str, label: int) -> None:
    assert Layout(classes).find_label(name).label == label


def test_words_of_other_classes_say_nothing() -> None:
    assert Layout(("horse", "zebra")).find_label("cats/kitten.1.jpg").reason == "no_label"
    assert Layout(("horse", "zebra")).find_label("zebras/horse.1.jpg").reason == "conflicting_label"


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["zoo/Zebras/1.jpg", "zoo/horses/2.png"], ("horses", "zebras")),
        (["train/0-owl/1.jpg", "test/owls/2.jpg", "train/Snowy Fox/3.jpg", "readme/a.txt"], ("owl", "snowy_fox")),
        (["owl/1.jpg", "owl/masks/._1.jpg", "elk/1.jpg"], ("elk", "owl")),
    ],
)
def test_auto_takes_the_two_folders(names: list[str], classes: tuple[str, str]) -> None:
    assert choose_classes("auto", names) == classes


@pytest.mark.parametrize("classes", ["auto", ("elk", "owl")])
def test_a_third_class_is_refused_with_all_names(classes: tuple[str, str] | Literal["auto"]) -> None:
    names = [f"zoo/{split}/{kind}/1.jpg" for split in ("train", "test") for kind in ("elk", "Owls", "fox", "images")]
    with pytest.raises(InputError, match=r"3 classes, elk, (owl, fox|fox, owls), and") as caught:
        choose_classes(classes, names)
    assert "move the images of all but two out" in str(caught.value)
    assert choose_classes(("elk", "owl"), [*names[:2], "zoo/test/images/1.jpg", "notes/1.jpg"]) == ("elk", "owl")


@pytest.mark.parametrize("names", [["1.jpg", "train/2.jpg"], ["owl/1.jpg", "elk/a.txt"]])
def test_auto_needs_two_folders(names: list[str]) -> None:
    with pytest.raises(InputError, match=r"data\.classes is auto, but there is"):
        choose_classes("auto", names)


def test_junk_and_masks() -> None:
    assert is_junk("__MACOSX/train/._cat.0.jpg")
    assert is_junk("PetImages/Cat/Thumbs.db")
    assert is_junk(".DS_Store")
    assert not is_junk("cat.0.jpg")
    assert find_mask("masks/head/cat.0.png") == ("head", "cat.0")
    assert find_mask("masks/animal/cat/cat.0.png") == ("animal", "cat/cat.0")
    assert find_mask("masks/tail/cat.0.png") is None
