"""One look for every picture: colours, fonts, and a file that appears whole or not at all."""

from __future__ import annotations

import io
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.errors import UsageError
from alexnet.reporting.text import display_width
from alexnet.run.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by people of every colour vision (jfly.uni-koeln.de/color).
RIGHT = "#0072B2"
WRONG = "#D55E00"
TRAINING = "#0072B2"
VALIDATION = "#D55E00"
INK = "#222222"
QUIET = "#707070"
FAINT = "#C4C8CC"

# Fonts with Hangul, as Linux, Windows and macOS name them; the first of them that is installed
# draws what DejaVu Sans (which comes with matplotlib) lacks.
HANGUL_FONTS = (
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "NanumGothic",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans K",
    "UnDotum",
)

_LOOK: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": False,
    "axes.labelcolor": QUIET,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.dpi": 160,
    "font.size": 10,
    "grid.color": "#E8EAEC",
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "savefig.dpi": "figure",
    "text.color": INK,
    # A class may be called "$1 note": that is a name, not a formula.
    "text.parse_math": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
}

# matplotlib's settings belong to the process: two threads drawing at once would mix theirs up.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this package's look, whatever the user's own matplotlib settings are."""
    import matplotlib.style

    with (
        _ONE_AT_A_TIME,
        matplotlib.style.context(["default", _LOOK | {"font.family": _families()}]),
    ):
        yield


def _families() -> list[str]:
    hangul = _hangul_font()
    return ["DejaVu Sans"] if hangul is None else ["DejaVu Sans", hangul]


def _hangul_font() -> str | None:
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return next((name for name in HANGUL_FONTS if name in installed), None)


def readable(text: str) -> str:
    """The text in letters that can be drawn here: Hangul is romanised where no font has it.

    고양이 becomes "goyangi", by the names of the syllables in Unicode; characters that cannot be
    printed become U+FFFD.
    """
    text = unicodedata.normalize("NFC", text)
    text = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    if _hangul_font() is not None:
        return text
    return "".join(_romanised(char) for char in text)


def _romanised(char: str) -> str:
    name = unicodedata.name(char, "")
    prefix = "HANGUL SYLLABLE "
    return name.removeprefix(prefix).lower() if name.startswith(prefix) else char


def percent(share: float, decimals: int = 1) -> str:
    """A share of 0 to 1 as people write it: ``88.5 %``."""
    return f"{100 * share:.{decimals}f} %"


def title_inches(title: str) -> float:
    """About the width of a bold title of 12 points, from above."""
    return 0.125 * display_width(title)


def new_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """An empty figure of ``width`` x ``height`` inches; never pyplot, which keeps every figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained" if constrained else None)
    if constrained:
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write ``figure`` as a PNG whose bytes depend on nothing but what was drawn.

    The file is written beside its name and then renamed. Raises ``UsageError`` for a name that
    does not end in ``.png`` and ``DataError`` where it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: pictures are written as PNG; give a name that ends in .png")
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that no installed font has is drawn as a box: worth no line on the console.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        figure.savefig(stream, format="png", metadata={"Software": None})
    return write_whole(path, stream.getvalue())
