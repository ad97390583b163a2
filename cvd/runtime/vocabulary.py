"""The words and colours that stages, tables and pictures share: labels, splits, methods, colours of variants."""

from typing import Literal, get_args

LABELS = ("cat", "dog")  # in the order of their numbers: a positive logit means the second
SPLITS = ("train", "validation", "test")
Method = Literal["gradcam", "gradcam++", "hirescam", "hirescam+", "scorecam", "integrated"]
METHODS: tuple[Method, ...] = get_args(Method)
Choice = Literal["auto", Method]  # auto: the one whose maps add up to the network's answer
CHOICES: tuple[str, ...] = ("auto", *METHODS)

# A variant has one colour in every picture. The optional ones: two for each spare colour, few are ever drawn together.
HUES = {
    **{"baseline": "vermilion", "augmented": "blue", "tfrecord": "purple", "transfer": "green"},
    **{"residual": "orange", "fine_tuned": "sky", "random_backbone": "grey", "transfer_augmented": "yellow"},
    **{"l2": "orange", "augmented_only": "sky", "small": "grey", "dropout_only": "yellow"},
}
SPARE_HUES = ("orange", "sky", "grey", "yellow")  # of variants that the project does not know
# Okabe and Ito (2008): told apart with every common kind of colour blindness. Darker here, for text on paper.
SHADES = {
    "vermilion": "#bd4b00",
    "blue": "#0067a5",
    "orange": "#946300",
    "green": "#007d5c",
    "purple": "#a8527f",
    "sky": "#2a75a8",
    "grey": "#687080",
    "yellow": "#756d00",
}
