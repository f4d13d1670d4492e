"""What dates a record: the commit of the code that ran, and the day. No torch here."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def commit(package: Path = PACKAGE) -> str:
    """Return the commit that a package's code is of, ``-dirty`` where a file of the package differs.

    A new file of the package counts; a document, a test or a record beside it does not, since none
    of them changes what was measured. Empty where git does not know the package.
    """
    if not _git(package, "ls-files", "__init__.py"):
        return ""  # installed from a wheel, perhaps into somebody else's checkout
    found = _git(package, "describe", "--always", "--abbrev=10")
    return found + ("-dirty" if found and _git(package, "status", "--porcelain", ".") else "")


def _git(folder: Path, *words: str) -> str:
    """Return what git says of a folder; nothing where it fails or is not there."""
    call = ["git", "-C", str(folder), *words]
    try:
        found = subprocess.run(call, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def today() -> str:
    """Return the date, UTC, as it stands in a record: ``2026-11-24``."""
    return datetime.now(UTC).strftime("%Y-%m-%d")
