"""Put the benchmarks' headlines into README.md: ``python tools/update_benchmarks.py``.

The page ``benchmarks/README.md`` and its picture come from ``benchmarks/*.json``, and the headlines
stand in README.md between the two ``benchmarks`` comments; nobody types a figure.
"""

import sys
from pathlib import Path

from alexnet.reporting.benchmarks import collect, headlines, write_page

ROOT = Path(__file__).parents[1]
START, END = "<!-- benchmarks -->\n", "<!-- /benchmarks -->"


def with_headlines(text: str, table: str) -> str:
    """Return ``text`` with ``table`` between the two comments; as it is where it has none."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    return f"{before}{START}{table}\n{END}{after}" if start and end else text


if __name__ == "__main__":
    write_page(ROOT / "benchmarks")
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    if START not in old:
        sys.exit(f"{readme.name} has no place for the table: add {START.strip()} and {END}")
    readme.write_text(
        with_headlines(old, headlines(collect(ROOT / "benchmarks"))), encoding="utf-8"
    )
