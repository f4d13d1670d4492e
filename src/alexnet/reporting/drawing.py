"""A network drawn in plain text, its towers side by side, at most 100 columns wide."""

from __future__ import annotations

from alexnet import built_in
from alexnet.errors import UnknownName
from alexnet.models import zoo
from alexnet.models.rows import Shape
from alexnet.models.table import Network
from alexnet.reporting.blocks import Block, blocks

CANVAS, BOX = 97, 45
CENTRES = {1: (48,), 2: (24, 72)}
RAIL = 11  # from a box's right edge to the line of a skip connection


def draw(network: Network, size: int | None = None) -> str:
    """Draw a network of one or two towers, from the picture to the classes. Raises ``TooSmall``."""
    side = network.size if size is None else size
    every = blocks(network, size)
    lines = [*_row(1, (f"picture  3x{side}x{side}",), first=True)]
    lines += _fork(every[0].columns)
    starts = {}
    for block, after in zip(every, (*every[1:], None), strict=True):
        starts[block.name] = len(lines)
        lines += _row(block.columns, _content(block), last=after is None)
        lines += [_link(block, after)] if after else []
    for block in every:
        if block.reads and block.columns == 1:
            _rail(lines, starts[block.reads] + 1, starts[block.name] + 1)
    return "\n".join(line.rstrip() for line in lines)


def _rail(lines: list[str], start: int, end: int) -> None:
    """Draw a line from the box at line ``start`` past those between to the box at line ``end``."""
    edge = CENTRES[1][0] + BOX // 2
    for n in range(start, end + 1):
        line = lines[n].ljust(edge + 1)
        if n == start:
            lines[n] = line[:edge] + "├" + "─" * (RAIL - 1) + "┐"
        elif n == end:
            lines[n] = line + "◄" + "─" * (RAIL - 2) + "┘"
        else:
            lines[n] = line.ljust(edge + RAIL) + "│"


def network_of(name: str, size: int | None = None) -> tuple[Network, int]:
    """Return the network called ``name``, or that of the recipe of that name, and the picture's side.

    Raises ``UnknownName``.
    """
    if name in zoo.NETWORKS:
        network = zoo.network(name)
        return network, network.size if size is None else size
    if name not in built_in.names() and not name.endswith(".toml"):
        raise UnknownName("network or recipe", name, {*zoo.NETWORKS, *built_in.names()})
    from alexnet.reporting import recipe_card

    tree = recipe_card.tree(name)
    return recipe_card.network_of(tree), tree["input"]["size"] if size is None else size


def _content(block: Block) -> tuple[str, ...]:
    """Return the lines of a box: the layer and its parameters, what follows, and the shapes."""
    width = BOX - 4
    kind = f"filters {block.kernel}" if block.kernel else "maps" if len(block.made) > 1 else "units"
    shapes = dict.fromkeys(map(_shape, (block.made, block.out)))
    head = _spread(f"{block.name}  {block.made[0]} {kind}", f"{block.parameters:,} params", width)
    maps = [" → ".join(shapes)] if len(block.made) > 1 else []
    return head, *_wrapped(block.after, width), *maps


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _spread(left: str, right: str, width: int) -> str:
    return left + right.rjust(width - len(left))


def _wrapped(words: tuple[str, ...], width: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + 3 <= width:
            lines[-1] += f" · {word}"
        else:
            lines.append(word)
    return lines


def _row(
    columns: int, content: tuple[str, ...], *, first: bool = False, last: bool = False
) -> list[str]:
    """Draw the same box in each column, with an arrow in from above and a line out below."""
    middle, width = (BOX - 2) // 2, BOX - 4
    edge = "─" * middle
    boxes = [
        f"┌{edge}{'─' if first else '▼'}{edge}┐",
        *(f"│ {line.center(width) if first else line.ljust(width)} │" for line in content),
        f"└{edge}{'─' if last else '┬'}{edge}┘",
    ]
    return [_placed(columns, box) for box in boxes]


def _link(before: Block, after: Block) -> str:
    """Draw what passes between two blocks."""
    if before.columns > after.columns:
        return _bridge("└", "┬", "┘")
    if after.exchange:
        return _bridge("├", " exchange ", "┤")
    return _placed(after.columns, "│")


def _fork(columns: int) -> list[str]:
    if columns == 1:
        return [_placed(1, "│")]
    line = _bridge("┌", "┴", "┐")
    left, right = CENTRES[2]
    return [line[: left - 9] + "tower 1  " + line[left : right + 1] + "  tower 2"]


def _bridge(left: str, middle: str, right: str) -> str:
    """Draw a line from the first column's centre to the second's."""
    start, end = CENTRES[2]
    return " " * start + left + middle.center(end - start - 1, "─") + right


def _placed(columns: int, text: str) -> str:
    """Write a text centred on each column."""
    line = ""
    for centre in CENTRES[columns]:
        line = line.ljust(centre - len(text) // 2) + text
    return line
