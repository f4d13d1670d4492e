"""A network as a picture: a box for each layer, towers one above the other, after the paper's figure.

Height and depth of a box grow with the square root of the map's side, its width with that of the
number of maps; a dense layer is a bar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.models.rows import Shape
from alexnet.models.table import Network
from alexnet.reporting.blocks import Block, blocks
from alexnet.reporting.drawing import network_of
from alexnet.reporting.style import INK, QUIET, RIGHT, WRONG, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TALL, WIDE, SLANT = 0.16, 0.075, (0.30, 0.22)  # of the roots of side and maps; of the height
GAP, DENSE_WIDTH = 0.75, 0.16
ROW, BAND = 3.1, 1.4  # from tower to tower; half the height of the ground behind a tower
PICTURE_COLOUR, GROUND = "#8A9199", "#F3F5F7"
LINE = 0.17  # of small text


@dataclass(frozen=True)
class Box:
    """The maps of one layer: what they are, the lower left front corner of the box, its sizes."""

    shape: Shape
    x: float
    y: float
    width: float
    height: float
    depth: float
    colour: str

    @property
    def end(self) -> tuple[float, float]:
        """Return where an arrow leaves it: the middle of its right face."""
        return self.x + self.width + self.depth * SLANT[0] / 2, self.middle

    @property
    def start(self) -> tuple[float, float]:
        """Return where an arrow enters it."""
        return self.x - 0.06, self.middle

    @property
    def top(self) -> float:
        """Return its highest point."""
        return self.y + self.height + self.depth * SLANT[1]

    @property
    def middle(self) -> float:
        """Return the height of its middle."""
        return (self.y + self.top) / 2

    @property
    def centre(self) -> float:
        """Return where its middle is from left to right."""
        return self.x + (self.width + self.depth * SLANT[0]) / 2


def plot_network(network: Network, path: Path, size: int | None = None) -> Path:
    """Draw a network of one or two towers into a .png. Raises ``TooSmall``, ``UsageError``."""
    with styled():
        return save(network_figure(network, size), path)


def plot_named(name: str, path: Path, size: int | None = None) -> Path:
    """Draw the network called ``name``, or that of the recipe. Raises ``UnknownName`` besides."""
    network, side = network_of(name, size)
    return plot_network(network, path, side)


def network_figure(network: Network, size: int | None = None) -> Figure:
    """Return the drawing that ``plot_network`` writes."""
    side = network.size if size is None else size
    every = blocks(network, size)
    placed = _placed(every, side)
    floor, ceiling = _extent(placed, every[0].columns)
    width = placed[-1][0].x + 1.0
    bottom = floor - 0.4 - LINE * max(len(_said(block)) for block in every)
    height = ceiling + 0.75 - bottom
    figure = new_figure(0.92 * width, 0.92 * height, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-0.3, width - 0.3)
    axes.set_ylim(bottom, bottom + height)
    title = f"{network.name} at {side}x{side}"
    axes.text(0.0, ceiling + 0.32, title, fontsize=13, fontweight="bold")
    _draw(axes, every, placed, floor)
    return figure


def _extent(placed: Sequence[Sequence[Box]], columns: int) -> tuple[float, float]:
    """Return the lowest and the highest point of what is drawn, but for names and title."""
    boxes = [box for column in placed for box in column]
    ends = [box.y for box in boxes], [box.top + 0.25 for box in boxes]
    grounds = [ROW / 2 + BAND] if columns > 1 else []
    return min([*ends[0], *(-g for g in grounds)]), max([*ends[1], *grounds])


def _levels(columns: int) -> tuple[float, ...]:
    return (0.0,) if columns == 1 else (ROW / 2, -ROW / 2)


def _placed(every: Sequence[Block], side: int) -> list[list[Box]]:
    """Return the boxes of the picture and of every block, one for each tower."""
    x = 0.0
    found = [[_box((3, side, side), x, 0.0, PICTURE_COLOUR)]]
    for block in every:
        last = found[-1][0]
        x = last.x + last.width + last.depth * SLANT[0] + GAP
        colour = RIGHT if len(block.made) > 1 else WRONG
        found.append([_box(block.made, x, y, colour) for y in _levels(block.columns)])
    return found


def _box(shape: Shape, x: float, y: float, colour: str) -> Box:
    if len(shape) == 1:
        height = 0.03 * math.sqrt(shape[0]) + 0.25
        return Box(shape, x, y - (height + 0.35 * SLANT[1]) / 2, DENSE_WIDTH, height, 0.35, colour)
    tall = TALL * math.sqrt(shape[1])
    width = WIDE * math.sqrt(shape[0])
    return Box(shape, x, y - tall * (1 + SLANT[1]) / 2, width, tall, tall, colour)


def _draw(
    axes: Axes, every: Sequence[Block], placed: Sequence[Sequence[Box]], floor: float
) -> None:
    columns = [boxes for boxes in placed if len(boxes) > 1]
    if columns:
        _grounds(axes, columns[0], columns[-1])
    for before, block, boxes in zip(placed, every, placed[1:], strict=False):
        _arrows(axes, before, boxes, exchange=block.exchange)
    for box in (box for boxes in placed for box in boxes):
        _cuboid(axes, box)
    at = dict(zip((block.name for block in every), placed[1:], strict=True))
    for block in every:
        if block.reads:
            _skip(axes, at[block.reads][-1], at[block.name][-1])
    names = ["picture", *(block.name for block in every)]
    said = [[], *(_said(block) for block in every)]
    for boxes, name, lines in zip(placed, names, said, strict=True):
        for box in boxes:
            shape = "x".join(map(str, box.shape))
            axes.text(box.centre, box.top + 0.08, shape, ha="center", fontsize=8, color=INK)
        alone = bool(columns) and len(boxes) == 1
        _below(axes, boxes[-1].centre, boxes[-1].y if alone else floor, name, lines)


def _grounds(axes: Axes, first: Sequence[Box], last: Sequence[Box]) -> None:
    """Put a light ground behind each tower, and its name on it."""
    from matplotlib.patches import FancyBboxPatch

    for number, (left, right) in enumerate(zip(first, last, strict=True), start=1):
        corner, bottom = left.x - 0.35, left.middle - BAND
        width = right.x + right.width + 0.45 - corner
        style = "round,pad=0,rounding_size=0.12"
        axes.add_patch(
            FancyBboxPatch((corner, bottom), width, 2 * BAND, boxstyle=style, fc=GROUND, ec="none")
        )
        axes.text(
            corner + 0.12, bottom + 2 * BAND - 0.25, f"tower {number}", fontsize=8.5, color=QUIET
        )


def _cuboid(axes: Axes, box: Box) -> None:
    from matplotlib.patches import Polygon

    dx, dy = box.depth * SLANT[0], box.depth * SLANT[1]
    x, y, right, top = box.x, box.y, box.x + box.width, box.y + box.height
    front = [(x, y), (right, y), (right, top), (x, top)]
    roof = [(x, top), (right, top), (right + dx, top + dy), (x + dx, top + dy)]
    side = [(right, y), (right + dx, y + dy), (right + dx, top + dy), (right, top)]
    for face, light in ((front, 0.55), (roof, 0.78), (side, 0.30)):
        axes.add_patch(
            Polygon(face, facecolor=_mixed(box.colour, light), edgecolor="white", linewidth=0.8)
        )


def _mixed(colour: str, light: float) -> tuple[float, float, float]:
    """Return a colour moved towards white by ``light``, 0 to 1."""
    from matplotlib.colors import to_rgb

    red, green, blue = (part + (1 - part) * light for part in to_rgb(colour))
    return red, green, blue


def _arrows(axes: Axes, before: Sequence[Box], boxes: Sequence[Box], *, exchange: bool) -> None:
    """Draw what a layer sees: its own tower straight ahead, the other one across."""
    joint = len(before) != len(boxes)
    for i, source in enumerate(before):
        for j, target in enumerate(boxes):
            if exchange or joint or i == j:
                across = exchange and not joint and i != j
                axes.annotate(
                    "",
                    target.start,
                    source.end,
                    arrowprops={
                        "arrowstyle": "-|>",
                        "color": WRONG if across else QUIET,
                        "linewidth": 1.6 if across else 1.2,
                        "shrinkA": 0,
                        "shrinkB": 0,
                    },
                )


def _skip(axes: Axes, source: Box, target: Box) -> None:
    """Draw a skip connection as a bow over the boxes between."""
    axes.annotate(
        "",
        (target.centre, target.top + 0.32),
        (source.centre, source.top + 0.32),
        arrowprops={
            "arrowstyle": "-|>",
            "color": WRONG,
            "linewidth": 1.6,
            "connectionstyle": "arc3,rad=-0.35",
        },
    )


def _said(block: Block) -> list[str]:
    return [block.kernel, *block.after] if block.kernel else list(block.after)


def _below(axes: Axes, x: float, floor: float, name: str, said: Sequence[str]) -> None:
    """Write a layer's name and what it does."""
    centred: dict[str, Any] = {"ha": "center", "va": "top"}
    axes.text(x, floor - 0.14, name, fontsize=9, fontweight="bold", color=INK, **centred)
    small = {"fontsize": 7.5, "color": QUIET, "linespacing": 1.25, **centred}
    axes.text(x, floor - 0.38, "\n".join(said), **small)
