"""A page of HTML that holds all it shows: headings, paragraphs, tables, pictures, a contents list."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

MARK = "<!-- written by alexnet report -->"  # a file that begins so may be written again
_FOLDER = "alexnet.reporting.report"


def _text(name: str) -> str:
    return (resources.files(_FOLDER) / name).read_text(encoding="utf-8")


def data_uri(png: bytes) -> str:
    """Return a PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@dataclass
class Page:
    """A page that is being written; every text is escaped, figures and tables are numbered.

    ``depth`` is how deep a chapter's heading stands: 2 of one run, 3 where each of several has its
    own.
    """

    say: Mapping[str, str]
    depth: int = 2
    seen: set[str] = field(default_factory=set)  # fingerprints of data that was described
    _body: list[str] = field(default_factory=list)
    _heads: list[tuple[int, str]] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)

    def head(self, text: str, below: int = 0, kind: str = "") -> None:
        """Begin a chapter, ``below`` levels under the chapters' own; ``run``: on a new sheet."""
        level = self.depth + below
        self._heads.append((level, text))
        name = f"c{len(self._heads)}"
        self._body.append(f'<h{level} id="{name}" class="{kind}">{escape(text)}</h{level}>')

    def line(self, text: str) -> None:
        """Write a paragraph."""
        self._body.append(f"<p>{escape(text)}</p>")

    def points(self, texts: Sequence[str]) -> None:
        """Write a list."""
        self._body.append(f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>")

    def block(self, text: str, caption: str = "", *, columns: bool = False) -> None:
        """Write text in the letters of a terminal, as it is; ``columns``: in two, where there is room."""
        kind = ' class="columns"' if columns else ""
        told = f"<p class='told'>{escape(caption)}</p>" if caption else ""
        self._body.append(f"{told}<pre{kind}>{escape(text)}</pre>")

    def figure(self, png: bytes, caption: str, kind: str = "") -> None:
        """Show a picture under its number."""
        title = self._numbered("figure", caption)
        self._body.append(
            f'<figure class="{kind}"><img alt="{escape(caption)}" src="{data_uri(png)}">'
            f"<figcaption>{title}</figcaption></figure>"
        )

    def table(self, rows: Sequence[Mapping[str, Any]], caption: str) -> None:
        """Write a table of plain values, its heads the keys of the rows; no rows: nothing."""
        if not rows:
            return
        keys = list(dict.fromkeys(key for row in rows for key in row))
        heads = "".join(f'<th scope="col">{escape(key)}</th>' for key in keys)
        lines = [[_cell(row.get(key)) for key in keys] for row in rows]
        self._table(f"<thead><tr>{heads}</tr></thead>", lines, caption)

    def facts(self, pairs: Sequence[tuple[str, str]], caption: str) -> None:
        """Write names and values below each other."""
        lines = [[f"<td>{escape(text)}</td>" for text in pair] for pair in pairs]
        self._table("", lines, caption, "facts")

    def _table(
        self, heads: str, lines: Sequence[Sequence[str]], caption: str, kind: str = ""
    ) -> None:
        title = self._numbered("table", caption)
        body = "".join(f"<tr>{''.join(line)}</tr>" for line in lines)
        self._body.append(
            f'<div class="wide"><table class="{kind}"><caption>{title}</caption>{heads}'
            f"<tbody>{body}</tbody></table></div>"
        )

    def _numbered(self, kind: str, caption: str) -> str:
        self._counts[kind] = number = self._counts.get(kind, 0) + 1
        return f"<b>{escape(self.say[kind].format(number))}</b> {escape(caption)}"

    def html(self, title: str, cover: str) -> str:
        """Return the whole page: ``cover`` is HTML, contents and chapters follow it."""
        links = "".join(
            f'<li class="l{level}"><a href="#c{n}">{escape(text)}</a></li>'
            for n, (level, text) in enumerate(self._heads, start=1)
        )
        say = self.say
        return (
            f'<!DOCTYPE html>\n{MARK}\n<html lang="{say["lang"]}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>{_text('style.css')}</style></head><body>\n"
            f"{cover}\n<nav><h2>{escape(say['contents'])}</h2><ol>{links}</ol></nav>\n"
            f"<main>{chr(10).join(self._body)}</main>\n</body></html>\n"
        )


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    number = text[:1].isdigit() or (text[:1] in "+-" and text[1:2].isdigit())
    kind = ' class="number"' if number and len(text) < 16 else ""
    return f"<td{kind}>{escape(text)}</td>"
