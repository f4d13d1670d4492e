"""What is said of runs in a language, English or Korean (``words.toml``). No torch here."""

from __future__ import annotations

import tomllib
from importlib import resources

from alexnet.errors import UnknownName


def words(language: str) -> dict[str, str]:
    """Return what is said of our own in ``en`` or ``ko``. Raises ``UnknownName``."""
    file = resources.files("alexnet.reporting") / "words.toml"
    known = tomllib.loads(file.read_text(encoding="utf-8"))
    if language not in known:
        raise UnknownName("language", language, known)
    return dict(known[language])
