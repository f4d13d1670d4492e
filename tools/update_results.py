"""Put the table of recorded runs into README.md: ``python tools/update_results.py``.

The table comes from ``results/*.json`` by ``alexnet.reporting.results`` and stands between the two
``results`` comments; nobody types a figure.
"""

from pathlib import Path

from alexnet.reporting.results import collect, markdown_table

ROOT = Path(__file__).parents[1]
START, END = "<!-- results -->\n", "<!-- /results -->"


def with_table(text: str, table: str) -> str:
    """Return ``text`` with ``table`` between the two comments."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{table}\n{END}{after}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    table = markdown_table(collect(ROOT / "results"))
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), table), encoding="utf-8")
