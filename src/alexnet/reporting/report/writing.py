"""``write_report``: from finished runs to one file that can be read, sent and printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from alexnet.errors import AlexNetError, UsageError
from alexnet.exploration.embedding import embed, some
from alexnet.models import table
from alexnet.reporting import embedding
from alexnet.reporting.report import chapters
from alexnet.reporting.report.comparison import compare
from alexnet.reporting.report.material import STRIP, Material, gather, strip
from alexnet.reporting.report.page import MARK, Page, data_uri
from alexnet.reporting.verdict import told_word
from alexnet.reporting.words import words
from alexnet.run.device import choose, prepare_process
from alexnet.run.files import write_whole
from alexnet.run.machine import versions

PICTURES = 1000  # test pictures that the features are shown of


@dataclass(frozen=True)
class Cover:
    """What stands on the cover; what is empty is left out, an empty title is the runs' recipes."""

    title: str = ""
    author: str = ""
    number: str = ""  # of a student
    affiliation: str = ""  # a course, a department, an institution
    date: str = ""  # empty: the last run's


@dataclass(frozen=True)
class Wanted:
    """How a report is written: ``pictures`` of the test part have their features shown, 0: none."""

    language: str = "en"
    pictures: int = PICTURES
    command: str = ""  # that wrote it


def write_report(
    runs: Sequence[Path],
    out: Path,
    cover: Cover,
    wanted: Wanted,
    device: str,
    *,
    root: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Write one HTML file about finished runs, and return its path.

    ``device``: the name of one; each run's model computes there in its own precision. ``say`` is told
    of a data set that cannot be opened: its pictures are left out, and the report says so. Raises
    ``UsageError`` for no run, an unknown language or device or a file that is not a report,
    ``CheckpointError`` for a run that is not finished, ``DataError`` where it cannot be written.
    """
    if not runs or wanted.pictures < 0:
        raise UsageError(
            f"{len(runs)} runs, {wanted.pictures} pictures; expected 1 or more, 0 or more"
        )
    refuse_other_file(out)
    prepare_process()
    choose(device)  # one that is not there is refused before runs are read
    page = Page(words(wanted.language))
    found = [gather(Path(run), device, root, say) for run in runs]
    if len(found) > 1:
        compare(page, found)
    for run in found:
        if len(found) > 1:
            page.depth = 2
            page.head(run.result.folder.name, kind="run")
            page.depth = 3
        _write_run(page, run, wanted, say)
    title = cover.title or ", ".join(dict.fromkeys(run.recipe.name for run in found))
    return write_whole(out, page.html(title, _cover(page.say, title, cover, found)))


def refuse_other_file(out: Path) -> None:
    """Raise ``UsageError`` for a path that holds anything but an earlier report."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: a report is HTML; give a name that ends in .html")
    if out.is_dir() or (out.is_file() and MARK.encode() not in out.read_bytes()[:200]):
        raise UsageError(f"{out} is there and is no report; choose another --out")


def _write_run(page: Page, run: Material, wanted: Wanted, say: Callable[[str], None]) -> None:
    for chapter in chapters.BEFORE:
        chapter(page, run)
    if run.dataset is not None and wanted.pictures:
        page.head(page.say["features"])
        try:
            chapters.features(page, _features(run, wanted.pictures))
        except AlexNetError as error:  # no scikit-learn, or fewer pictures than components
            page.line(str(error))
            say(f"the report shows no features: {error}")
    chapters.environment(page, run, versions())
    chapters.repeat(page, run, wanted.command)


def _features(run: Material, count: int) -> embedding.View:
    part = run.part("test")
    source = some(part.source, min(count, len(part.source)), run.recipe.train.seed)
    layer = table.last_features(run.model.module.network)
    space = embed(run.model, replace(part, source=source), run.device, layer=layer)
    return embedding.view(space, 2, run.recipe.name)


def _cover(say: Mapping[str, str], title: str, cover: Cover, runs: Sequence[Material]) -> str:
    kind = say["report"] if len(runs) == 1 else say["reports"].format(len(runs))
    many = " many" if len(runs) > 1 else ""
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in _facts(say, cover, runs)
    )
    return (
        f'<header class="cover"><p class="kind">{escape(kind)}</p><h1>{escape(title)}</h1>'
        f'<p class="about">{escape(runs[0].recipe.summary)}</p>'
        f'<div class="numbers{many}">{"".join(_number(say, run) for run in runs)}</div>'
        f"<dl>{facts}</dl>{_band(runs)}</header>"
    )


def _facts(
    say: Mapping[str, str], cover: Cover, runs: Sequence[Material]
) -> Iterator[tuple[str, str]]:
    names = dict.fromkeys(run.recipe.name for run in runs)
    told = {
        "author": cover.author,
        "number": cover.number,
        "affiliation": cover.affiliation,
        "date": cover.date or str(runs[-1].record["date"]),
        "recipe" if len(names) == 1 else "recipes": ", ".join(names),
    }
    yield from ((say[key], value) for key, value in told.items() if value)


def _number(say: Mapping[str, str], run: Material) -> str:
    test = run.record["test"]
    low, high = (f"{end:.2%}" for end in test["interval"])
    lines = [
        say["right"].format(f"{test['count']:,}"),
        say["interval"].format(low, high),
        verdict(say, run),
    ]
    small = "".join(f'<span class="small">{escape(line)}</span>' for line in lines)
    return f'<div><span class="big">{test["accuracy"]:.2%}</span>{small}</div>'


def verdict(say: Mapping[str, str], run: Material) -> str:
    """Say what became of the published number, in the report's language."""
    found = run.record["verdict"]
    if not found:
        return say["no_published"]
    gap = f"{100 * found['difference']:+.2f}"
    text = say["published"].format(f"{found['published']:.2%}", gap, told_word(found, say))
    top3 = [found.get("measured_top3"), found.get("published_top3")]
    if None in top3:
        return text
    return f"{text} ({say['top3'].format(*(f'{share:.2%}' for share in top3))})"


def _band(runs: Sequence[Material]) -> str:
    """Return pictures of the data along the foot of the cover; nothing where there are too few."""
    shown = next((run for run in runs if run.dataset is not None), None)
    samples = shown.looked_at("train", STRIP[0] * STRIP[1], said=False) if shown else []
    if len(samples) < STRIP[0]:
        return ""
    return f'<img alt="" src="{data_uri(strip([sample.picture for sample in samples]))}">'
