"""What is drawn is what was given; files appear whole; nothing warns, whatever the names are."""

from __future__ import annotations

import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from alexnet.errors import DataError, UsageError
from alexnet.evaluation import score
from alexnet.reporting import scores, style
from alexnet.reporting.confusion import confusion_figure, plot_confusion
from alexnet.reporting.curves import curves_figure, plot_curves
from alexnet.reporting.pictures import (
    _short,
    plot_prediction,
    plot_samples,
    prediction_figure,
    samples_figure,
)
from alexnet.reporting.style import RIGHT, WRONG, readable, save, styled
from alexnet.reporting.text import confusion_text, summary_table
from alexnet.reporting.text import figure as figure_of

HISTORY = [
    {"epoch": 1, "train_loss": 1.9, "val_loss": 1.7, "train_accuracy": 0.31, "val_accuracy": 0.42},
    {"epoch": 2, "train_loss": 1.2, "val_loss": 1.1, "train_accuracy": 0.58, "val_accuracy": 0.61},
    {"epoch": 3, "train_loss": 0.9, "val_loss": 1.0, "train_accuracy": 0.69, "val_accuracy": 0.64},
]
MATRIX = np.array([[8, 1, 1], [0, 9, 1], [0, 0, 0]])
CLASSES = ["cat", "dog", "frog"]
RANKED = [("cat", 0.8125), ("dog", 0.12), ("frog", 0.0675)]


def pictures(count: int = 3, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def words(figure: Figure) -> list[str]:
    """Every text of the figure, as drawn."""
    import matplotlib.text

    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


# --- files -----------------------------------------------------------------------------------

DRAWINGS: dict[str, Callable[[Path], Path]] = {
    "curves": lambda path: plot_curves(HISTORY, path, title="a run"),
    "confusion": lambda path: plot_confusion(MATRIX, CLASSES, path, title="a run"),
    "samples": lambda path: plot_samples(pictures(), CLASSES, path, title="a run"),
    "prediction": lambda path: plot_prediction(pictures()[0], RANKED, path, actual="dog"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_same_input_gives_the_same_bytes_and_nothing_else(name: str, tmp_path: Path) -> None:
    first = DRAWINGS[name](tmp_path / "new folder" / "1.png")
    second = DRAWINGS[name](tmp_path / "2.png")
    assert first == tmp_path / "new folder" / "1.png"
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2.png", "new folder"]
    with Image.open(first) as image:
        assert set(image.info) <= {"dpi"}  # no date, no version
        assert min(image.size) > 200


def test_every_mark_of_the_accuracy_axis_says_where_it_stands() -> None:
    """From 80 % on the marks are 2.5 points apart: without decimals, 97.5 was called 98."""
    history = [line | {"val_accuracy": 0.9, "train_accuracy": 0.9} for line in HISTORY]
    axes = curves_figure(history).axes[1]
    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    shown = [t.get_text() for t in axes.get_yticklabels()]
    for place, text in zip(axes.get_yticks(), shown, strict=True):
        if low <= place <= high:
            assert float(text.removesuffix(" %")) == pytest.approx(100 * place)


def test_curves_have_the_promised_size(tmp_path: Path) -> None:
    with Image.open(DRAWINGS["curves"](tmp_path / "1.png")) as image:
        assert image.size == (1600, 640)


def test_one_epoch_does_not_hide_the_published_ones() -> None:
    with styled():
        figure = curves_figure(HISTORY[:1], published={"val_loss": [1.8, 1.5, 1.2, 0.9]})
        figure.canvas.draw()
    left, right = figure.axes[0].get_xlim()
    assert left <= 1
    assert right >= 4


def test_a_failed_write_keeps_the_old_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plot_curves(HISTORY, tmp_path / "1.png")
    old = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(DataError, match=r"1\.png: cannot be written: No space left"):
        plot_curves(HISTORY[:1], path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["1.png"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        plot_curves(HISTORY, tmp_path / "out" / "1.png")


def test_only_png(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1\.jpg.*\.png"):
        plot_curves(HISTORY, tmp_path / "1.jpg")


def test_the_settings_of_the_user_change_nothing_and_are_kept(tmp_path: Path) -> None:
    import matplotlib

    before = DRAWINGS["curves"](tmp_path / "1.png").read_bytes()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "figure.dpi": 30}):
        after = DRAWINGS["curves"](tmp_path / "2.png").read_bytes()
        assert matplotlib.rcParams["font.size"] == 20
    assert before == after


def test_importing_the_room_imports_no_matplotlib() -> None:
    code = (
        "import sys; from alexnet.reporting import confusion, curves, pictures, style, text;"
        "print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_nothing_is_kept_by_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, alexnet.reporting.curves as r;"
        f"r.plot_curves([{{'val_loss': 1.0}}], pathlib.Path({str(tmp_path / 'a.png')!r}));"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
    assert done.stderr == ""


# --- names -----------------------------------------------------------------------------------

ODD = ["고양이", r"$\frac{$", "猫 🐈", "a\tb\x00", "<b>&amp;", "e\u0301", "\udc80"]


def test_any_name_is_drawn_without_a_warning(tmp_path: Path) -> None:
    n = len(ODD)
    title = "고양이 $ 猫 🐈"
    plot_curves(HISTORY, tmp_path / "a.png", title=title)
    plot_confusion(np.eye(n, dtype=int), ODD, tmp_path / "b.png", title=title)
    plot_samples(pictures(n), ODD, tmp_path / "c.png", title=title)
    ranked = [(name, 1 / n) for name in ODD]
    plot_prediction(pictures()[0], ranked, tmp_path / "d.png", actual=ODD[2], title=title)
    assert len(list(tmp_path.glob("?.png"))) == 4  # a warning would have been an error


def test_hangul_is_romanised_only_where_no_font_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "_hangul_font", lambda: None)
    assert readable("고양이 cat") == "goyangi cat"
    assert readable(unicodedata.normalize("NFD", "고양이")) == "goyangi"
    monkeypatch.setattr(style, "_hangul_font", lambda: "NanumGothic")
    assert readable("고양이 cat") == "고양이 cat"


def test_only_installed_fonts_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.font_manager import FontManager

    monkeypatch.setattr(FontManager, "get_font_names", lambda _: ["Arial", "NanumGothic"])
    assert style._families() == ["DejaVu Sans", "NanumGothic"]
    monkeypatch.setattr(FontManager, "get_font_names", lambda _: ["Arial"])
    assert style._families() == ["DejaVu Sans"]


# --- curves ----------------------------------------------------------------------------------


def lines(figure: Figure, panel: int) -> dict[str, tuple[list[float], list[float]]]:
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata()))  # type: ignore
        for line in figure.axes[panel].lines
    }


def test_curves_draw_the_history_and_the_published_numbers() -> None:
    published = {"val_accuracy": [0.5, 0.55, 0.6, 0.72], "val_loss": [1.5, 1.25]}
    figure = curves_figure(HISTORY, published=published, title="keras-lab")
    assert lines(figure, 0) == {
        "training, last 0.900": ([1, 2, 3], [1.9, 1.2, 0.9]),
        "validation, last 1.000": ([1, 2, 3], [1.7, 1.1, 1.0]),
        "published validation, last 1.250": ([1, 2], [1.5, 1.25]),
    }
    assert lines(figure, 1) == {
        "training, last 69.0 %": ([1, 2, 3], [0.31, 0.58, 0.69]),
        "validation, last 64.0 %": ([1, 2, 3], [0.42, 0.61, 0.64]),
        "published validation, last 72.0 %": ([1, 2, 3, 4], [0.5, 0.55, 0.6, 0.72]),
    }
    dashed = [line.get_linestyle() == "--" for line in figure.axes[1].lines]
    assert dashed == [False, False, True]
    assert figure.axes[1].get_ylim() == (0.3, 1.0)
    assert {"keras-lab", "loss", "accuracy", "epoch"} <= set(words(figure))


def test_curves_skip_what_was_not_measured() -> None:
    history: list[dict[str, Any]] = [
        {"epoch": 0.5, "train_loss": 2.0, "val_loss": None},
        {"epoch": 1.0, "train_loss": float("nan"), "val_loss": 1.5},
        {"epoch": 1.5, "train_loss": float("inf")},
        {"epoch": 2.0, "train_loss": 1.0, "learning_rate": 0.1},
    ]
    figure = curves_figure(history)
    assert lines(figure, 0) == {
        "training, last 1.000": ([0.5, 2.0], [2.0, 1.0]),
        "validation, last 1.500": ([1.0], [1.5]),
    }
    assert lines(figure, 1) == {}
    assert "not measured" in words(figure)


def test_an_epoch_without_a_number_stands_at_its_place() -> None:
    figure = curves_figure([{"val_loss": 1.0}, {"val_loss": 0.0}])
    assert lines(figure, 0) == {"validation, last 0.000": ([1, 2], [1.0, 0.0])}


def test_one_epoch_and_a_loss_of_zero_can_be_drawn(tmp_path: Path) -> None:
    drawn = plot_curves([{"epoch": 1, "train_loss": 0.0, "val_accuracy": 1.0}], tmp_path / "1.png")
    assert drawn.stat().st_size > 0


def test_no_epoch_is_refused() -> None:
    with pytest.raises(UsageError, match="no epoch"):
        curves_figure([])


# --- confusion -------------------------------------------------------------------------------


def test_confusion_draws_the_counts_and_the_shares_of_the_rows() -> None:
    figure = confusion_figure(MATRIX, CLASSES, title="test pictures")
    axes = figure.axes[0]
    drawn = {text.get_position(): text.get_text() for text in axes.texts}
    assert drawn == {(c, r): str(MATRIX[r, c]) for r in range(3) for c in range(3)}
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares, [[0.8, 0.1, 0.1], [0, 0.9, 0.1], [0, 0, 0]])
    assert [t.get_text() for t in axes.get_yticklabels()] == CLASSES
    assert [t.get_text() for t in axes.get_xticklabels()] == CLASSES
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")
    assert {"test pictures", "17 of 20 right (85.00 %)"} <= set(words(figure))


@pytest.mark.parametrize("n", [1, 2, 10, 25, 26, 100, 201])
def test_confusion_of_any_number_of_classes_fits_its_picture(n: int) -> None:
    names = [f"class number {i}" for i in range(n)]
    with styled():
        figure = confusion_figure(np.eye(n, dtype=int) * 1000, names, title="t" * 40)
        figure.canvas.draw()
    axes = figure.axes[0]
    assert len(axes.texts) == (n * n if n <= 25 else 0)
    inside = figure.bbox
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.yaxis.label, *figure.texts]:
        box = text.get_window_extent()
        assert box.x0 >= inside.x0
        assert box.x1 <= inside.x1
        assert box.y0 >= inside.y0
        assert box.y1 <= inside.y1
    cell = axes.get_window_extent().width / n
    assert all(text.get_window_extent().width < cell for text in axes.texts)


@pytest.mark.parametrize("matrix", [np.eye(2, dtype=int), np.ones((3, 2), int), np.eye(3), -MATRIX])
def test_a_matrix_that_does_not_fit_is_refused(matrix: np.ndarray) -> None:
    for draw in (confusion_figure, confusion_text):
        with pytest.raises(UsageError, match=r"confusion matrix of (shape|float64|int)"):
            draw(matrix, CLASSES)  # type: ignore[operator]


# --- samples and prediction ------------------------------------------------------------------


def test_samples_show_every_picture_in_true_colours() -> None:
    images, names = pictures(10), [f"picture {i}" for i in range(10)]
    colours = [RIGHT, WRONG] * 5
    figure = samples_figure(images, names, columns=4, colours=colours)
    assert len(figure.axes) == 10
    for axes, image, name, colour in zip(figure.axes, images, names, colours, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
        assert axes.images[0].get_interpolation() == "nearest"
        assert axes.get_title() == name
        assert axes.title.get_color() == colour
    lefts = [round(axes.get_position().x0, 3) for axes in figure.axes]
    bottoms = [round(axes.get_position().y0, 3) for axes in figure.axes]
    assert lefts[:4] == lefts[4:8] == sorted(set(lefts))
    assert len(set(bottoms)) == 3
    assert bottoms == sorted(bottoms, reverse=True)


def test_enlarged_pixels_are_exact(tmp_path: Path) -> None:
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0] = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (90, 90, 90)]]
    with Image.open(plot_samples(image, [""], tmp_path / "1.png")) as drawn:
        pixels = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
    for colour in image.reshape(-1, 3):
        count = (pixels == colour).all(axis=1).sum()
        assert abs(count - 96 * 96) < 300  # 1.2 inches of 160 dots hold two pixels a side


def test_long_titles_are_cut_and_large_pictures_thinned() -> None:
    figure = samples_figure(pictures(1, 2048), ["a name that is far too long\nshort"])
    assert figure.axes[0].get_title() == "a name that is far …\nshort"
    assert figure.axes[0].images[0].get_size() == (1024, 1024)


@pytest.mark.parametrize(
    ("images", "titles", "options", "fault"),
    [
        (pictures(2), ["one"], {}, "2 pictures with 1 titles"),
        (pictures(2), ["a", "b"], {"colours": ["red"]}, "1 colours"),
        (pictures(0), [], {}, r"shape \(0, 32, 32, 3\)"),
        (pictures(2).astype(float), ["a", "b"], {}, "float64"),
        (pictures(2)[..., :1], ["a", "b"], {}, r"\(2, 32, 32, 1\)"),
        (pictures(2), ["a", "b"], {"columns": 0}, "0 columns"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    images: np.ndarray, titles: list[str], options: dict[str, Any], fault: str
) -> None:
    with pytest.raises(UsageError, match=fault):
        samples_figure(images, titles, **options)


def bars(figure: Figure) -> list[tuple[float, str]]:
    from matplotlib.colors import to_hex

    return [
        (bar.get_width(), to_hex(bar.get_facecolor()).upper())  # type: ignore[attr-defined]
        for bar in figure.axes[1].patches
    ]


def test_prediction_draws_the_ranking_and_says_what_it_is() -> None:
    figure = prediction_figure(pictures()[0], RANKED, actual="dog", title="cat.jpg")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), pictures()[0])
    widths, colours = zip(*bars(figure), strict=True)
    assert widths == (0.8125, 0.12, 0.0675)
    assert colours == (WRONG, RIGHT, style.FAINT)
    drawn = words(figure)
    assert "cat.jpg\npredicted cat 81.2 %   ·   actual dog" in drawn
    assert {"cat", "dog", "frog", "81.2 %", "12.0 %", "6.8 %"} <= set(drawn)


@pytest.mark.parametrize("actual", ["cat", None])
def test_a_right_or_unknown_prediction_has_no_colour_of_error(actual: str | None) -> None:
    figure = prediction_figure(pictures()[0], RANKED, actual=actual)
    assert [colour for _, colour in bars(figure)] == [RIGHT, style.FAINT, style.FAINT]


def test_a_prediction_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="ranking is empty"):
        prediction_figure(pictures()[0], [])
    with pytest.raises(UsageError, match=r"float64 of shape \(2, 2, 3\)"):
        prediction_figure(np.zeros((2, 2, 3)), RANKED)


# --- text ------------------------------------------------------------------------------------


def test_confusion_of_many_classes_has_numbers_for_names_and_no_larger_picture() -> None:
    figures = [confusion_figure(np.eye(n, dtype=int), ["x" * 40] * n) for n in (201, 1000)]
    for figure in figures:
        assert max(figure.get_size_inches()) < 27
        assert not any("x" in word for word in words(figure))


def test_long_titles_are_cut_to_the_width_of_a_picture() -> None:
    assert _short("고양이" * 10 + "\ncat") == "고양이" * 3 + "…\ncat"
    assert _short("a" * 20) == "a" * 20
    assert _short("a" * 21) == "a" * 19 + "…"


def test_scores_of_many_classes_leave_the_integers_out() -> None:
    labels = torch.arange(62) % 31
    said = score(torch.log_softmax(torch.eye(32)[labels], 1), labels, "centre", (1,))
    text = scores.text(said, [f"class {n}" for n in range(32)])
    assert "true \\ predicted" not in text
    assert "confusion matrix of 32 classes: --json has it, --picture draws it" in text
    assert "nan" not in text  # of the class that has no pictures
    few = score(torch.log_softmax(torch.eye(3)[labels % 3], 1), labels % 3, "centre", (1,))
    assert "true \\ predicted" in scores.text(few, ["a", "b", "c"])


def test_counts_keep_their_digits() -> None:
    assert [figure_of(v) for v in (58464, 3, 0.123456)] == ["58,464", "3", "0.1235"]


def test_confusion_text() -> None:
    assert confusion_text(np.array([[1000, 2], [30, 4]]), ["cat", "고양이"]) == (
        "true \\ predicted     0     1\n"
        "0 cat             1000     2\n"
        "1 고양이            30     4"
    )  # fmt: skip


def test_confusion_text_keeps_every_integer() -> None:
    matrix = np.random.default_rng(0).integers(0, 5000, (12, 12))
    rows = confusion_text(matrix, ["x y"] * 12).splitlines()
    assert len({len(row) for row in rows}) == 1
    assert [[int(n) for n in row.split()[3:]] for row in rows[1:]] == matrix.tolist()


def test_summary_table() -> None:
    rows = [
        {"network": "keras-lab", "parameters": "58,324,746", "top-1": "72.1 %"},
        {"network": "고양이", "parameters": 7, "note": None},
        {"network": "c\nd", "parameters": "-", "top-1": "9 %", "note": "12 epochs"},
    ]
    assert summary_table(rows) == (
        "network    parameters   top-1  note\n"
        "---------  ----------  ------  ---------\n"
        "keras-lab  58,324,746  72.1 %\n"
        "고양이              7\n"
        "c d                 -     9 %  12 epochs"
    )
    assert summary_table(rows, columns=["top-1"]) == " top-1\n------\n72.1 %\n\n   9 %"
    assert summary_table([]) == "(none)"


@pytest.mark.parametrize("text", ["1", "-1.5e-4", "12.4 MB", "1,234 /s", "3/10", "2x", "0.5", "+7"])
def test_numbers_are_set_right(text: str) -> None:
    assert summary_table([{"a long head": text}]).splitlines()[2] == text.rjust(11)


@pytest.mark.parametrize("text", ["conv1", "2026-01-01", "3x3, 96", "a/b", "runs/1"])
def test_words_are_set_left(text: str) -> None:
    assert summary_table([{"a long head": text}]).splitlines()[2] == text


def test_two_threads_never_share_the_settings() -> None:
    inside = threading.Event()

    def enter() -> None:
        with styled():
            inside.set()

    other = threading.Thread(target=enter)
    with styled():
        other.start()
        assert not inside.wait(0.1)
    other.join(10)
    assert inside.is_set()


def test_save_writes_any_figure(tmp_path: Path) -> None:
    with styled():
        path = save(style.new_figure(2, 1), tmp_path / "empty.png")
    with Image.open(path) as image:
        assert image.size == (320, 160)
