"""Write what the records under results/ say: ``python tools/update_results.py``.

README.md gets the short tables between its two ``results`` comments, RESULTS.md is written whole,
``recorded.json`` and ``unfinished.json`` in the package hold what ``alexnet show`` tells, and
docs/pictures the curves of every published program that has one. Nobody types a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet import recipe as recipes
from alexnet.reporting import unfinished
from alexnet.reporting.claims import Claim
from alexnet.reporting.curves import plot_curves
from alexnet.reporting.recorded import PACKAGED, read_records, summaries, to_json
from alexnet.reporting.results_page import Page, page_of
from alexnet.reporting.run_pictures import published

ROOT = Path(__file__).parents[1]
START, END = "<!-- results -->\n", "<!-- /results -->"
PICTURES = "docs/pictures"
HEAD = """# Results

Written by `python tools/update_results.py` from the records under [results/](results), never by hand;
`alexnet results --markdown` prints the same, without the curves. Each record holds every setting of its recipe, command, seed, commit,
versions, hardware, curve and confusion matrix; that of a run that did not end has no score of the test pictures.

*Measured*: the share of the test pictures that was named right, the mean over n seeds, ± their
standard deviation. *95 % interval*: Wilson's, of that mean over one test part. *Difference*: in
points. *Met*: short by no more than the recipe's tolerance, in top-3 as well where it was published; *beaten*:
the whole interval lies above.
*Training*: without the scoring; *published*: what the source gives, of as many epochs, its scoring
included. A changed recipe is another protocol and gets no verdict; so is what a recipe was before it was
changed, if that changes figures. *Waiting for pictures*: the share of the training's time in which it waited
for them. In bf16 two classes can be equally probable: the first of them counts. Top-3 and the curves of runs of before
27 November 2026 count such a picture as wrong."""


def with_table(text: str, table: str) -> str:
    """Return ``text`` with ``table`` between the two comments."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{table}\n{END}{after}"


def results_text(page: Page, drawn: Mapping[str, Any]) -> str:
    """Return the text of RESULTS.md."""
    body = page.sections(lambda claim: picture_of(claim, drawn))
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
    begun = unfinished.read_unfinished(ROOT / "results")
    page, drawn = page_of(records, begun), longest(records)
    old = (ROOT / "README.md").read_text(encoding="utf-8")
    package = ROOT / "src/alexnet/reporting"
    for path, text in {
        ROOT / "README.md": with_table(old, page.brief),
        ROOT / "RESULTS.md": results_text(page, drawn),
        package / PACKAGED: to_json(summaries(records)),
        package / unfinished.PACKAGED: unfinished.to_json(begun),
    }.items():
        path.write_text(text, encoding="utf-8")
    for name, record in drawn.items():
        theirs = published(recipes.load(name))
        path = ROOT / PICTURES / f"{name}.png"
        plot_curves(record["history"], path, published=theirs, title=name)


if __name__ == "__main__":
    main()
