"""Put the recorded studies into docs/studies.md: ``python tools/update_studies.py``.

The tables come from ``results/studies/*.json`` by ``alexnet.reporting.study`` and stand between the two
``studies`` comments; nobody types a figure.
"""

from pathlib import Path

from alexnet.reporting.study import markdown, read

ROOT = Path(__file__).parents[1]
START, END = "<!-- studies -->\n", "<!-- /studies -->"


def recorded(folder: Path) -> str:
    """Return the tables of every study.json in ``folder``, by name of the file."""
    found = [markdown(read(path)) for path in sorted(folder.glob("*.json"))]
    return "\n\n".join(found) if found else "None yet."


def with_studies(text: str, tables: str) -> str:
    """Return ``text`` with ``tables`` between the two comments."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{tables}\n{END}{after}"


if __name__ == "__main__":
    page = ROOT / "docs" / "studies.md"
    tables = recorded(ROOT / "results" / "studies")
    page.write_text(with_studies(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
