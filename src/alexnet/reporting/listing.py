"""What there is, a line each: networks, data sets, recipes, pretrained weights. No torch here.

Each list is imported when it is asked for: the rows of all networks take longer than the rest.
"""

from __future__ import annotations

from collections.abc import Mapping


def listing(kind: str) -> list[dict[str, str]]:
    """Return name and a line about each of the ``models``, ``datasets``, ``recipes``, ``weights``."""
    kinds = {"models": _models, "datasets": _datasets, "recipes": _recipes, "weights": _weights}
    return [{"name": name, "about": about} for name, about in kinds[kind]().items()]


def _models() -> Mapping[str, str]:
    from alexnet.models import zoo

    return {name: zoo.network(name).summary for name in sorted(zoo.NETWORKS)}


def _datasets() -> Mapping[str, str]:
    from alexnet.data.catalogue import ABOUT

    return dict(sorted(ABOUT.items()))


def _recipes() -> Mapping[str, str]:
    from alexnet import built_in

    return built_in.summaries()


def _weights() -> Mapping[str, str]:
    from alexnet.exchange.torchvision import WEIGHTS

    return WEIGHTS
