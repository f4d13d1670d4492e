"""What there is, a line each: networks, data sets, recipes, pretrained weights. No torch here."""

from __future__ import annotations

from alexnet import built_in
from alexnet.data.catalogue import ABOUT
from alexnet.exchange.torchvision import WEIGHTS
from alexnet.models import zoo


def listing(kind: str) -> list[dict[str, str]]:
    """Return name and a line about each of the ``models``, ``datasets``, ``recipes``, ``weights``."""
    if kind == "models":
        found = [zoo.network(name) for name in sorted(zoo.NETWORKS)]
        return [{"name": n.name, "about": n.summary} for n in found]
    if kind == "datasets":
        return [{"name": name, "about": about} for name, about in sorted(ABOUT.items())]
    about = WEIGHTS if kind == "weights" else built_in.summaries()
    return [{"name": name, "about": text} for name, text in about.items()]
