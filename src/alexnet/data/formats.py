"""What a file is, by its first bytes and never by its name."""

from __future__ import annotations

_MAGIC = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF8", "BMP": b"BM"}

# What files that are not pictures usually are, by their first bytes (lower case).
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "an HTML page, perhaps an error page saved under a picture's name"),
    (b"<html", "an HTML page, perhaps an error page saved under a picture's name"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG text"),
    (b"%pdf", "a PDF document"),
    (b"%!ps", "a PostScript drawing"),
    (b"8bps", "a Photoshop document"),
    (b"ii*\0", "a TIFF picture"),
    (b"mm\0*", "a TIFF picture"),
    (b"pk\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
)


def kind_of(head: bytes) -> str | None:
    """Return the format of ``pictures.ACCEPTED`` that these first bytes belong to, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((kind for kind, magic in _MAGIC.items() if head.startswith(magic)), None)


def what_instead(head: bytes) -> str:
    """Say what a file that is no picture of ours seems to be, e.g. ``is a PDF document``."""
    if not head:
        return "is empty (0 bytes)"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for signature, what in _STRANGERS:
        if start.startswith(signature):
            return f"is {what}"
    if head[4:8] == b"ftyp":
        return f"is {_boxed(head[8:12])}"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"is a text file (it begins {head[:20].decode('ascii')!r})"
    return f"is of no known picture format (it begins with the bytes {head[:8].hex(' ')})"


def _boxed(brand: bytes) -> str:
    """Say what a file in ISO's boxes is, by its major brand (ISO/IEC 14496-12, 23008-12)."""
    if brand in (b"avif", b"avis"):
        return "an AVIF picture; export it as JPEG"
    if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return "a HEIC picture, as iPhones take them; export it as JPEG"
    return "a video or another file in MPEG's boxes"
