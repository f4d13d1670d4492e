"""The data sets by name, and a line about each: what can be said before any of them is opened."""

from __future__ import annotations

from collections.abc import Mapping

ABOUT: Mapping[str, str] = {
    "cifar10": "50,000 + 10,000 colour photographs of 32x32 in ten classes (Krizhevsky 2009)",
    "imagenet": "1,281,167 + 50,000 photographs in 1000 classes (ILSVRC2012); you need the files (predict, eval, embed and export mean weights)",
    "imagenette": "9,469 + 3,925 photographs of ten classes of ImageNet (fast.ai, version 2)",
    "shapes": "ten kinds of coloured figures drawn from a seed; 2,000 + 500 pictures of any size",
}

CLASSES: Mapping[str, int] = {"cifar10": 10, "imagenet": 1000, "imagenette": 10, "shapes": 10}

FITS: Mapping[str, str] = {  # how a photograph becomes a square; one that is square comes out alike
    "crop": "the shorter side scaled, the centre cut out",
    "stretch": "the whole picture, its sides made equal",
}
