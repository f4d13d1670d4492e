"""The environment page: what ``run.machine`` found, as text or Markdown. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alexnet.reporting.text import markdown_table
from alexnet.run.memory import size


def text(found: Mapping[str, Any]) -> str:
    """Write the page for a terminal."""
    rows = [*_rows(found), *_packages(found)]
    wide = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{wide}}  {value}" for name, value in rows)


def markdown(found: Mapping[str, Any]) -> str:
    """Write the page as two Markdown tables: the machine, and the packages."""
    return "\n\n".join(
        [
            _table(("environment", "value"), _rows(found)),
            _table(("package", "version"), _packages(found)),
        ]
    )


def _table(heads: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    return markdown_table([dict(zip(heads, row, strict=True)) for row in rows], heads)


def _packages(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(found["packages"].items())


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    accelerators = found["accelerators"]
    return [
        ("system", found["system"]),
        ("python", found["python"]),
        ("processor", found["processor"] or "unknown"),
        ("cores", f"{found['cores']}, {found['cores_usable']} of them for this process"),
        ("memory", _size(found["memory_bytes"])),
        ("accelerators", str(found["accelerator_count"])),
        *((each["device"], _accelerator(each)) for each in accelerators),
        ("CUDA", found["cuda"] or "not in this build of torch"),
        ("computes on", f"{found['device']}, {found['precision']}, {found['threads']} threads"),
    ]


def _accelerator(each: Mapping[str, Any]) -> str:
    known = [each["name"], _size(each["memory_bytes"]) if each["memory_bytes"] else ""]
    if "capability" in each:
        known.append(f"compute capability {each['capability']}")
    return ", ".join(filter(None, known))


def _size(count: int | None) -> str:
    return "unknown" if count is None else size(count)
