"""The sections of params.yaml but for the variants: their keys, types and ranges."""

from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

from cvd.runtime.vocabulary import Choice, Method


def _check_images(value: object, check: Callable[[object], Any]) -> Any:
    try:
        return check(value)
    except ValidationError:
        accepted = "should be a number of images, 1 to 1000, or a list of paths as in data/manifest.csv"
        raise PydanticCustomError("images", accepted) from None


def _check_size(value: object, check: Callable[[object], Any]) -> Any:
    try:
        return check(value)
    except ValidationError:
        accepted = "should be a number of images of each class, 1 or more, or a share of them, above 0 and below 1"
        raise PydanticCustomError("size", accepted) from None


Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Count = Annotated[int, Field(ge=1)]
Alpha = Annotated[float, Field(ge=0, le=10)]  # of Beta(alpha, alpha)
Texts = Annotated[list[str], Field(min_length=1)]
Names = Texts | None
Levels = Annotated[list[Annotated[float, Field(gt=0, le=360)]], Field(min_length=1)]
Size = Annotated[Count | Annotated[float, Field(gt=0, lt=1)], WrapValidator(_check_size)]
Images = Annotated[Annotated[int, Field(ge=1, le=1000)] | Texts, WrapValidator(_check_images)]


class Section(BaseModel):
    """A section of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Split(Section):
    """How many images of each class, or which share of them, go where."""

    train: Annotated[Size | None, WrapValidator(_check_size)]
    validation: Size
    test: Size
    seed: Seed
    label_noise: float = Field(ge=0, le=0.5)
    group_duplicates: bool

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        sizes = {"train": self.train, "validation": self.validation, "test": self.test}
        shares = {split: size for split, size in sizes.items() if isinstance(size, float)}
        total = sum(Fraction(str(share)) for share in shares.values())  # as they are written: 0.7 + 0.1 + 0.2 is 1
        if total > 1 or (total == 1 and len(shares) < len(sizes)):
            asked = " + ".join(f"{split} {share}" for split, share in shares.items())
            cause = "more than 1" if total > 1 else "which leaves no image for the others"
            raise ValueError(f"the shares {asked} add up to {float(total):g}, {cause}: lower one of them")
        return self


class Image(Section):
    """The pictures that the networks read."""

    size_px: int = Field(ge=64, le=512)


class Shard(Section):
    """How TFRecord shards are written."""

    encoding: Literal["raw", "jpeg"]
    size_mb: int = Field(ge=1, le=2048)


class Backbone(Section):
    """The pretrained network that variants can stand on."""

    name: Literal[
        "EfficientNetLite0",
        "EfficientNetLite1",
        "EfficientNetLite2",
        "EfficientNetLite0+EfficientNetLite2",
        "EfficientNetLite0+EfficientNetLite1+EfficientNetLite2",
        "VGG16",
        "InceptionV3",
        "Xception",
        "EfficientNetV2B0",
        "MobileNetV2",
    ]
    weights: str
    size_px: int = Field(ge=75, le=512)

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if "+" in self.name:
            if self.weights not in ("imagenet", "random"):
                raise ValueError(f"weights of {self.name} should be 'imagenet' or 'random', not {self.weights!r}")
            return self
        suffix = ".pth" if self.name.startswith("EfficientNetLite") else ".h5"
        if self.weights not in ("imagenet", "random") and not self.weights.endswith(suffix):
            accepted = f"'imagenet', 'random' or the path of a {suffix} file"
            raise ValueError(f"weights of {self.name} should be {accepted}, not {self.weights!r}")
        return self


class Train(Section):
    """What all trainings share."""

    batch_size: int = Field(ge=1, le=1024)
    strategy: Literal["one", "mirrored", "multi_worker"]
    precision: Literal["auto", "float32", "mixed_bfloat16"]
    threads: int = Field(ge=1, le=256)
    memory_share: float = Field(ge=0, le=0.9)


class Augment(Section):
    """How far training images are changed at random."""

    rotation_degrees: float = Field(ge=0, le=180)
    shift_fraction: float = Field(ge=0, le=1)
    shear_degrees: float = Field(ge=0, le=80)
    zoom_fraction: float = Field(ge=0, le=0.9)
    horizontal_flip: bool
    brightness_fraction: float = Field(ge=0, le=1)
    contrast_fraction: float = Field(ge=0, le=1)
    saturation_fraction: float = Field(ge=0, le=1)
    erase_fraction: float = Field(ge=0, le=1)
    mixup_alpha: Alpha
    cutmix_alpha: Alpha


class Evaluate(Section):
    """How a trained network is measured."""

    calibration_bins: int = Field(ge=2, le=100)
    onset_tolerance: float = Field(ge=0, le=10)
    notable_gap: float = Field(ge=0, le=1)
    learned_accuracy: float = Field(ge=0.5, le=1)


class Compare(Section):
    """How the variants are held against one another."""

    n_bootstrap: int = Field(ge=100, le=1_000_000)
    seed: Seed


class Augmentations(Section):
    """The augmentation preview."""

    images: Images
    n_samples: int = Field(ge=1, le=50)


class Activations(Section):
    """The export of intermediate activations."""

    images: Images
    layers: Names
    channels: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None


class Filters(Section):
    """The export of what each filter looks for."""

    images: Images
    layers: Names
    n_filters: int = Field(ge=1, le=4096)
    size_px: int = Field(ge=32, le=512)
    steps: int = Field(ge=1, le=5000)
    recipe: Literal["crisp", "plain"]


class GradCam(Section):
    """The exports of heat maps."""

    images: Images
    layers: Names
    method: Choice
    mistakes: int = Field(ge=1, le=50)
    every_epochs: int = Field(ge=0)
    photos: str
    top: int = Field(ge=1, le=10)


class Probes(Section):
    """The levels of `cvd probe`, each above 0."""

    images: Images
    shift_px: Levels
    rotation_degrees: Levels
    brightness_fraction: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    blur_px: Levels


class Labels(Section):
    """The search for wrong labels."""

    folds: int = Field(ge=2, le=50)
    shown: int = Field(ge=1, le=200)


class Explanations(Section):
    """The checks of heat maps."""

    methods: Annotated[list[Method], Field(min_length=1)]
    layers: Names
    images: Images
    perturbed: int = Field(ge=1, le=1000)
    steps: int = Field(ge=1, le=50)
    randomised: int = Field(ge=1, le=1000)
