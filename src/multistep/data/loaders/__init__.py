"""Loaders, one module each: the name of the module is the `loader` of a dataset."""

import pkgutil
import re
from collections.abc import Iterable

# What some member of each layout is called; the most particular layouts come first.
LAYOUTS = {
    **dict.fromkeys(("cifar100", "cifar_fs", "fc100"), r"cifar-100-python/train"),
    "stl10": r"stl10_binary/train_X\.bin",
    "cub200": r"CUB_200_2011/images\.txt",
    "stanford_dogs": r"Images/n\d{8}-[^/]+/[^/]+\.jpg",
    "stanford40": r"JPEGImages/[^/]+_\d+\.jpg",
    "indoor67": r"Images/[^/]+/[^/]+\.jpg",
    "omniglot": r"[^/]+/[^/]+/character\d+/\d+_\d+\.png",
    "tinyimagenet": r"[^/]+/train/[^/]+/images/[^/]+\.JPEG",
    "miniimagenet": r"(.*/)?(train\.csv|mini-imagenet-cache-train\.pkl)",
    "tieredimagenet": r"(.*/)?(train_images_png\.pkl|train/n\d{8}/[^/]+\.(?i:jpe?g|png))",
    "image_folder": r"(.*/)?[^/]+/[^/]+\.(?i:jpe?g|png|bmp|gif|ppm|tiff?|webp)",
}


def names() -> list[str]:
    """What `loader:` of a dataset can be."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def readers(members: Iterable[str]) -> list[str]:
    """The loaders whose layout one of these members of archives is of, in the order of LAYOUTS."""
    found = list(members)
    return [n for n, layout in LAYOUTS.items() if any(re.fullmatch(layout, m) for m in found)]
