"""A process that decodes pictures: tasks come in by standard input, pixels go to files.

``python -m alexnet.data.photos.worker`` is started by ``alexnet.data.photos.pool``; it ends with its input, so
none outlives the program that started it. One line of JSON says what to do::

    {"size": 256, "fit": "crop", "start": 128, "files": {"train": "..."}}         once
    {"pictures": [[path, offset, bytes, part, row], ...], "here": false}   then, any number of

With ``here`` the bytes of the files follow, else they are read where they lie. The answer is a
line with the reasons of those that cannot be read, by their place, and a note (``noting``) of each.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from alexnet.data.decoding import HUSH, check_bytes
from alexnet.data.photos.noting import of_bytes, of_picture
from alexnet.data.squares import look
from alexnet.errors import BadPicture

_NOTHING: io.BytesIO | io.FileIO = io.BytesIO()


class Decoder:
    """Reads, decodes and stores pictures as the settings say."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._size, self._start = int(settings["size"]), int(settings["start"])
        self._fit = str(settings["fit"])
        self._stored = {
            part: open(path, "r+b", buffering=0)  # noqa: SIM115
            for part, path in settings["files"].items()
        }
        self._path, self._opened = "", _NOTHING

    def answer(
        self, pictures: Sequence[Sequence[Any]], source: BinaryIO | None
    ) -> tuple[dict[int, str], bytes]:
        """Return the reasons by place in the task, and a note of each picture."""
        faults: dict[int, str] = {}
        notes: list[bytes] = []
        for place, (path, offset, count, part, row) in enumerate(pictures):
            data = b""
            try:
                data = source.read(count) if source else self._read(path, offset, count)
                seen = look(data, "it", self._size, self._fit)
                pixels = seen.image.tobytes()
                self._store(part, row, pixels)
                notes.append(of_picture(data, seen, pixels))
            except BadPicture as error:
                notes.append(of_bytes(data))
                faults[place] = _reason(error)
        return faults, b"".join(notes)

    def _read(self, path: str, offset: int, count: int) -> bytes:
        """The bytes of one picture; an archive stays open from one to the next."""
        check_bytes("it", count)
        try:
            if path != self._path:
                self._opened.close()
                self._path = ""  # until the next one is open
                self._opened = open(path, "rb", buffering=0)  # noqa: SIM115
                self._path = path
            self._opened.seek(offset)
            data = self._opened.read(count)
        except OSError as error:
            raise BadPicture(f"it: cannot be read: {error.strerror}") from error
        if len(data) != count:
            raise BadPicture(f"it: {len(data):,} bytes are there of the {count:,} that were listed")
        return data

    def _store(self, part: str, row: int, pixels: bytes) -> None:
        file = self._stored[part]
        file.seek(self._start + row * len(pixels))
        if file.write(pixels) != len(pixels):
            raise OSError("the disk took a part of a picture only")


def _reason(error: BadPicture) -> str:
    """The reason alone: whose it is, and what would be accepted, stands once in the report."""
    return str(error).removeprefix("it: ").partition("; accepted are")[0]


def main() -> None:
    """Work until the input ends. A disk that takes no more is told, and is the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started this one
    tasks, answers = sys.stdin.buffer, sys.stdout.buffer
    try:
        with (
            HUSH
        ):  # once for all: to hush Pillow for each picture takes as long as to check its pixels
            for faults, notes in _answers(tasks):
                answers.write(json.dumps({"faults": faults}).encode() + b"\n" + notes)
                answers.flush()
    except OSError as error:
        answers.write(json.dumps({"trouble": error.strerror or str(error)}).encode() + b"\n")
        answers.flush()


def _answers(tasks: BinaryIO) -> Iterator[tuple[dict[int, str], bytes]]:
    decoder = Decoder(json.loads(tasks.readline()))
    for line in tasks:
        task = json.loads(line)
        yield decoder.answer(task["pictures"], tasks if task["here"] else None)


if __name__ == "__main__":
    main()
