"""What is drawn is what was given; the page sends nothing, and no name becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.errors import UsageError
from alexnet.reporting import scatter
from alexnet.reporting.scatter import SHAPES, colours, plot_scatter, scatter_figure, shape_of
from alexnet.reporting.scatter3d import write_scatter3d
from alexnet.reporting.style import styled

NAMES = ["cat", "</script><script>alert(1)</script>", "고양이", "\udc80 <b>&amp;"]
SHARES = (0.5, 0.25, 0.125)


@pytest.fixture
def points():
    draw = np.random.default_rng(0)
    return draw.normal(size=(80, 3)).astype(np.float32), np.arange(80) % 4, np.arange(80) + 1000


def test_the_scatter_draws_every_point_in_its_colour_once(points):
    xyz, labels, _ = points
    figure = scatter_figure(xyz, labels, NAMES, shares=SHARES, title="fc7")
    drawn = {}
    for path in figure.axes[0].collections:
        for point in np.asarray(path.get_offsets()):
            place = tuple(np.round(point, 5))
            assert place not in drawn
            drawn[place] = tuple(path.get_facecolor()[0][:3])
    expected = {tuple(np.round(p, 5)): k for p, k in zip(xyz[:, :2].tolist(), labels, strict=True)}
    assert drawn.keys() == expected.keys()
    by_class = {k: {drawn[p] for p, label in expected.items() if label == k} for k in range(4)}
    assert all(len(found) == 1 for found in by_class.values())
    assert len(set.union(*by_class.values())) == 4


def test_the_scatter_names_axes_title_and_classes(points):
    xyz, labels, _ = points
    with styled():
        figure = scatter_figure(xyz, labels, NAMES, shares=SHARES, title="fc7 of a run")
    axes = figure.axes[0]
    assert axes.get_xlabel() == "PC1 (50.0 % of the variance)"
    assert axes.get_ylabel() == "PC2 (25.0 % of the variance)"
    assert axes.get_title(loc="left") == "fc7 of a run"
    assert figure.legends[0].get_texts()[0].get_text() == "cat"
    assert len(figure.legends[0].get_texts()) == 4


def test_a_class_without_points_is_not_in_the_legend(points):
    xyz, labels, _ = points
    figure = scatter_figure(xyz, np.minimum(labels, 1), NAMES, shares=SHARES)
    assert len(figure.legends[0].get_texts()) == 2


def test_the_same_points_give_the_same_bytes(points, tmp_path):
    xyz, labels, _ = points
    first, second = (
        plot_scatter(xyz, labels, NAMES, tmp_path / f"{n}.png", shares=SHARES) for n in "ab"
    )
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as drawn:
        assert min(drawn.size) > 500


@pytest.mark.parametrize("count", [2, 10, 11, 1000])
def test_every_class_has_a_colour_of_its_own(count):
    found = colours(count)
    assert len(set(found)) == count
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in found)
    assert {shape_of(i) for i in range(count)} <= set(SHAPES)


class Page(HTMLParser):
    """What a browser makes of a page: its policy, scripts, styles, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.policy = self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "action", "data")]
        self.inside = known.get("type", tag) if tag in ("script", "style") else ""
        if known.get("http-equiv") == "Content-Security-Policy":
            self.policy = known["content"]

    def handle_data(self, data):
        if self.inside:
            self.scripts[self.inside] = self.scripts.get(self.inside, "") + data

    def handle_endtag(self, tag):
        self.inside = ""


@pytest.fixture
def page(points, tmp_path: Path) -> Page:
    xyz, labels, indices = points
    path = write_scatter3d(
        xyz, labels, indices, NAMES, tmp_path / "new" / "a.html", shares=SHARES, title=NAMES[1]
    )
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_runs_its_own_script_and_asks_for_nothing(page):
    assert page.addresses == []
    assert page.policy.startswith("default-src 'none';")
    assert "unsafe" not in page.policy
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.scripts[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.policy
    text = page.scripts["script"]
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)|fetch\(|import\(|innerHTML|eval", text
    )


def test_no_name_becomes_markup(page):
    assert page.tags.count("script") == 2  # the data, and the program
    assert "b" not in page.tags
    assert [
        kind["name"] for kind in json.loads(page.scripts["application/json"])["classes"]
    ] == NAMES


def test_the_page_holds_every_point_with_its_class_and_number(page, points):
    xyz, labels, indices = points
    data = json.loads(page.scripts["application/json"])
    assert data["label"] == labels.tolist()
    assert data["index"] == indices.tolist()
    assert data["axes"][2] == "PC3 (12.5 % of the variance)"
    drawn = np.array(data["xyz"]).reshape(-1, 3)
    slope = np.polyfit(xyz.ravel() - np.tile(np.median(xyz, 0), 80), drawn.ravel(), 1)
    assert slope[1] == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(drawn, (xyz - np.median(xyz, 0)) * slope[0], atol=2e-4)
    assert 1 <= np.abs(drawn).max() < 1.5


def test_labels_are_renumbered_where_a_class_has_no_points(points, tmp_path):
    xyz, labels, indices = points
    labels = np.where(labels < 2, 3, 1)
    path = write_scatter3d(xyz, labels, indices, NAMES, tmp_path / "a.html", shares=SHARES)
    data = json.loads(Page(path.read_text(encoding="utf-8")).scripts["application/json"])
    assert [kind["name"] for kind in data["classes"]] == [NAMES[1], NAMES[3]]
    assert data["label"] == (labels == 3).astype(int).tolist()


def test_a_thousand_points_in_one_place_are_drawn(tmp_path):
    xyz, zero = np.zeros((1000, 3), np.float32), np.zeros(1000, np.int64)
    write_scatter3d(xyz, zero, zero, ["a"], tmp_path / "a.html", shares=SHARES)
    plot_scatter(xyz, zero, ["a"], tmp_path / "a.png", shares=SHARES)
    page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert len(json.loads(page.scripts["application/json"])["label"]) == 1000
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.convert("L").getextrema()[0] < 255, "something is drawn"


def test_colours_are_made_once_a_drawing(points, tmp_path, monkeypatch):
    xyz, labels, _ = points
    asked = []
    real = scatter.colours
    monkeypatch.setattr(scatter, "colours", lambda count: asked.append(count) or real(count))
    plot_scatter(xyz, labels, NAMES, tmp_path / "a.png", shares=SHARES)
    assert asked == [len(NAMES)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": np.zeros((0, 3))}, "points of shape"),
        ({"points": np.zeros((80, 1)), "shares": (1.0,)}, "points of shape"),
        ({"labels": np.zeros(3, np.int64)}, "80 points of 3 values with 3 labels"),
        ({"labels": np.full(80, 4)}, "labels 4 to 4 with 4 class names"),
        ({"shares": (1.0,)}, "1 shares"),
    ],
)
def test_what_does_not_fit_is_refused(points, tmp_path, change, said):
    xyz, labels, _ = points
    given = {"points": xyz, "labels": labels, "classes": NAMES, "shares": SHARES} | change
    with pytest.raises(UsageError, match=said):
        plot_scatter(path=tmp_path / "a.png", **given)
    with pytest.raises(UsageError, match=said):
        write_scatter3d(indices=labels, path=tmp_path / "a.html", **given)
    assert list(tmp_path.iterdir()) == []
