"""Letting the pip client fetch one source package, as npm is asked for one elsewhere."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from alexnet.errors import DownloadError

PATIENCE = 900.0  # seconds


def fetch(requirement: str, sha256: str, folder: Path) -> Path:
    """Fetch the source archive of ``requirement`` ("name==version") into ``folder``; return it.

    The client knows the registry and proxy that this machine uses. It looks at a source archive by
    running its build script, so it is given the archive's ``sha256`` and refuses any other before.
    Raises ``DownloadError`` if there is no client or it fails, with its own words.
    """
    asked = folder / "requirement.txt"
    asked.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    package = requirement.partition("==")[0]
    options = ["--no-deps", "--no-binary", package, "--require-hashes", "--retries", "1"]
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command = [*_client(), "download", *options, *quiet, "-r", str(asked), "-d", str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise DownloadError(f"pip did not finish in {PATIENCE:.0f} s") from None
    except OSError as error:
        raise DownloadError(f"pip cannot be run: {error}") from None
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode != 0 or not archives:
        raise DownloadError(f"pip failed ({_first_error(done.stderr)})")
    return archives[0]


def _client() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    client = shutil.which("pip")
    if client is None:
        raise DownloadError("there is no pip client on this machine")
    return [client]


def _first_error(words: str) -> str:
    """The line in which pip says what went wrong."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["without a word"])[0]
