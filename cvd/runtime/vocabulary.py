"""The words that stages, tables and pictures share: labels, splits, methods."""

from typing import Literal, get_args

LABELS = ("cat", "dog")  # in the order of their numbers: a positive logit means the second
SPLITS = ("train", "validation", "test")
Method = Literal["gradcam", "gradcam++", "hirescam", "scorecam", "integrated"]
METHODS: tuple[Method, ...] = get_args(Method)
