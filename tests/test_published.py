"""Every row of the five published programs has its place, and the commands named there exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from alexnet import cli

DOCS = Path(__file__).parents[1] / "docs"
ROWS = {"S0": 16, "S1": 9, "S2": 15, "S3": 12, "S4": 18}


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every ``alexnet ...`` in backticks, and in the blocks of the explanations."""
    inline = re.findall(r"`(alexnet [^`]+)`", text("published.md") + text("explained.md"))
    blocks = re.findall(r"^alexnet .+$", text("explained.md"), re.MULTILINE)
    return sorted(set(inline + blocks))


def test_every_row_is_there_once_in_order():
    found = re.findall(r"^\| (S\d-\d+) \|", text("published.md"), re.MULTILINE)
    assert found == [f"{s}-{n}" for s, last in ROWS.items() for n in range(1, last + 1)]
    assert len(found) == 70


def test_every_row_says_where():
    for line in text("published.md").splitlines():
        if line.startswith("| S"):
            _, _, what, where, _ = line.split("|")
            assert len(what.strip()) >= 3
            assert re.search(r"`|\[explained\]|[Nn]ot yet|[Ll]eft out|everywhere", where), line


@pytest.mark.parametrize("line", commands())
def test_the_commands_parse(line):
    """Parsed, not run: a command, option or argument that is not there raises."""
    _, verb, *rest = shlex.split(line)
    app = cli.app.group()
    with app.make_context("alexnet", [verb, *rest]) as context:
        command = app.get_command(context, verb)
        assert command is not None, verb
        command.make_context(verb, rest, parent=context)


def test_the_links_within_the_documents_lead_somewhere():
    heads = re.findall(r"^#+ (.+)$", text("explained.md"), re.MULTILINE)
    there = {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}
    links = re.findall(r"\]\(explained\.md#([^)]+)\)", text("published.md"))
    assert len(links) > 5
    assert set(links) <= there
