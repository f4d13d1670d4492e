"""Write what the records under results/ say: ``python tools/update_results.py``.

README.md gets the short table between its two ``results`` comments, RESULTS.md is written whole,
``recorded.json`` in the package holds the figures that ``alexnet show`` tells, and docs/pictures the
curves of every published program that has one. Nobody types a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet import recipe as recipes
from alexnet.reporting.claims import Claim
from alexnet.reporting.curves import plot_curves
from alexnet.reporting.recorded import PACKAGED, read_records, summaries, to_json
from alexnet.reporting.results import short_rows
from alexnet.reporting.results_page import page_of
from alexnet.reporting.run_pictures import published
from alexnet.reporting.text import markdown_table

ROOT = Path(__file__).parents[1]
START, END = "<!-- results -->\n", "<!-- /results -->"
PICTURES = "docs/pictures"
HEAD = """# Results

Written by `python tools/update_results.py` from the records under [results/](results), never by hand;
`alexnet results` prints the same. Each record holds its recipe, command, seed, commit, versions,
hardware, curve and confusion matrix.

*Measured*: the share of the test pictures that was named right, the mean over n seeds, ± their
standard deviation. *95 % interval*: Wilson's, of that mean over one test part. *Difference*: in
points. *Met*: short by no more than the recipe's tolerance; *beaten*: the whole interval lies above.
*Training*: without the scoring; *published*: what the source gives, of as many epochs, its scoring
included. A changed recipe is another protocol and gets no verdict. *Waiting for pictures*: the share of
the training's time in which it waited for them."""


def with_table(text: str, table: str) -> str:
    """Return ``text`` with ``table`` between the two comments."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{table}\n{END}{after}"


def results_text(records: Sequence[dict[str, Any]]) -> str:
    """Return the text of RESULTS.md."""
    drawn = longest(records)
    body = page_of(records).sections(lambda claim: picture_of(claim, drawn))
    return f"{HEAD}\n\n## Every recorded run\n\n{body}\n"


def picture_of(claim: Claim, drawn: Mapping[str, Any]) -> str:
    """Return the address of a claim's curves, empty where none are drawn."""
    return f"{PICTURES}/{claim.name}.png" if claim.name in drawn else ""


def longest(records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return, of each recipe with a published curve, the record of most epochs."""
    curved = {name for name in recipes.names() if published(recipes.load(name))}
    found: dict[str, Mapping[str, Any]] = {}
    for record in records:
        name = record["recipe"]
        if name in curved and len(record["history"]) > len(found.get(name, {}).get("history", [])):
            found[name] = record
    return found


def main() -> None:
    """Write all of it."""
    records = read_records(ROOT / "results")
    readme = ROOT / "README.md"
    table = markdown_table(short_rows(records))
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), table), encoding="utf-8")
    (ROOT / "RESULTS.md").write_text(results_text(records), encoding="utf-8")
    packaged = ROOT / "src/alexnet/reporting" / PACKAGED
    packaged.write_text(to_json(summaries(records)), encoding="utf-8")
    for name, record in longest(records).items():
        theirs = published(recipes.load(name))
        path = ROOT / PICTURES / f"{name}.png"
        plot_curves(record["history"], path, published=theirs, title=name)


if __name__ == "__main__":
    main()
