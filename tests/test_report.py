"""A report holds what its run recorded, asks for nothing from elsewhere, and is well formed."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import alexnet
from alexnet.data import arrays, shapes
from alexnet.errors import CheckpointError, UnknownName, UsageError
from alexnet.exploration.embedding import Embedding
from alexnet.reporting import embedding
from alexnet.reporting.report import chapters, writing
from alexnet.reporting.report.page import Page
from alexnet.reporting.words import words
from alexnet.run import classifier, device
from alexnet.run.log import Console

pytestmark = pytest.mark.usefixtures("denormals")
NAMES = ["고양이", "<b>dog</b>", *(f"figure {n}" for n in range(2, 10))]
SPEEDS = (
    *("training_seconds", "images_per_second", "training_multiply_adds"),
    *("share_of_matrix_rate", "peak_memory_bytes"),
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Read(HTMLParser):
    """The elements of a page; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.heads: list[tuple[int, str]] = []
        self.said: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch(r"h\d", tag):
            self.heads.append((int(tag[1]), ""))
        self.said.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.said[tag][-1] += data
        if self.open and re.fullmatch(r"h\d", self.open[-1]):
            level, text = self.heads[-1]
            self.heads[-1] = level, text + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Figures as arrays of one's own, in classes with names that are a trial."""
    folder = tmp_path_factory.mktemp("own") / "figures"
    drawn = {part: shapes.draw(n, seed=n) for part, n in (("train", 160), ("test", 40))}
    parts = {part: (found.images, found.labels) for part, found in drawn.items()}
    return alexnet.keep_arrays(folder, **parts, classes=NAMES)


def train(folder: Path, kept: str, **more: Any) -> Path:
    keys = {
        "data.name": kept,
        "data.train": "train[:75%]",
        "data.validation": "train[75%:]",
        "data.split": "sklearn",
        "data.split_seed": 42,
        "train.batch": 40,
        "train.epochs": "2 epochs",
        "train.precision": "float32",
        **more,
    }
    hush = Console(quiet=True)
    alexnet.train("cifar10-quick", folder, override=keys, device="cpu", console=hush)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, kept: str) -> Any:
    yield train(tmp_path_factory.mktemp("runs") / "first", kept)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def written(run: Path) -> Path:
    return alexnet.report(
        run, title="나의 <report>", author="김하늘", number="2026-17", affiliation="딥러닝 입문",
        pictures=30, device="cpu", command="alexnet report first",
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(written: Path) -> Read:
    return Read(written.read_text(encoding="utf-8"))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_model_computes_in_the_precision_of_its_run(run, tmp_path, monkeypatch, precision):
    """And not in what a device multiplies fastest."""
    card = classifier.load(run).provenance
    monkeypatch.setattr(device, "fast_bf16", lambda of: True)
    load, found = classifier.load, set()

    def loaded(*of, **how):
        return replace(load(*of, **how), provenance=replace(card, precision=precision))

    def embed(model, part, device, **how):
        found.add(device.precision)
        raise UsageError("not now")

    monkeypatch.setattr(classifier, "load", loaded)
    monkeypatch.setattr(writing, "embed", embed)
    alexnet.report(run, tmp_path / "a.html", device="cpu", pictures=30)
    assert found == {precision}


# --- arrays of one's own, all the way ----------------------------------------------------------


def test_arrays_are_trained_on_by_the_split_of_the_recipe(run, kept):
    splits = json.loads((run / "splits.json").read_text(encoding="utf-8"))
    from sklearn.model_selection import train_test_split

    theirs = train_test_split(np.arange(160), test_size=0.25, random_state=42)
    assert splits["indices"]["train"] == theirs[0].tolist()
    assert splits["indices"]["validation"] == theirs[1].tolist()
    assert alexnet.load(run).classes == tuple(NAMES)


def test_arrays_are_scored_and_looked_at_by_their_path(run, kept):
    recorded = json.loads((run / "result.json").read_text(encoding="utf-8"))["test"]
    scores = alexnet.evaluate(run, device="cpu", precision="float32")
    assert json.loads(json.dumps(scores.to_json())) == recorded
    (seen,) = alexnet.sample(None, f"{kept}/train", index=0)
    assert np.array_equal(seen.picture, shapes.draw(160, seed=160).images[0])


# --- the page ----------------------------------------------------------------------------------


def test_it_is_in_the_run_and_says_so(run, written):
    assert written == run / "report.html"


def test_nothing_comes_from_elsewhere(page, written):
    text = written.read_text(encoding="utf-8")
    assert re.findall(r"https?://|url\(|@import|<script|<link|<iframe", text) == []
    assert [a["href"] for a in page.all("a") if not (a["href"] or "").startswith("#")] == []
    images = [image["src"] or "" for image in page.all("img")]
    assert len(images) >= 8
    for source in images:
        kind, _, data = source.partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            picture.load()
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10, "blank"


def test_headings_come_in_order_and_the_contents_lead_to_them(page):
    assert [text for level, text in page.heads if level == 1] == ["나의 <report>"]
    levels = [level for level, _ in page.heads]
    assert all(b <= a + 1 for a, b in pairwise(levels))
    say = words("en")
    chapters = [text for level, text in page.heads[2:] if level == 2]
    names = ("result", "data", "network", "recipe_head", "training", "scores", "predictions", "features", "environment", "repeat")  # fmt: skip
    assert chapters == [say[name] for name in names]
    marks = {a["id"] for a in (attributes for _, attributes in page.tags) if "id" in a}
    assert [(a["href"] or "")[1:] for a in page.all("a")] == [f"c{n}" for n in range(1, 11)]
    assert marks == {f"c{n}" for n in range(1, 11)}


def test_figures_and_tables_are_numbered_and_captioned(page):
    for kind, tag in (("Figure", "figcaption"), ("Table", "caption")):
        captions = page.said[tag]
        assert [c.split(" ")[1] for c in captions] == [str(n + 1) for n in range(len(captions))]
        assert all(c.startswith(f"{kind} ") and len(c) > 12 for c in captions)
    assert len(page.all("figure")) == len(page.said["figcaption"]) == 7


def test_the_cover_says_who_and_what(page, run):
    cover = page.said["header"][0]
    record = json.loads((run / "result.json").read_text(encoding="utf-8"))
    for said in ("김하늘", "2026-17", "딥러닝 입문", record["date"], "cifar10-quick"):
        assert said in cover
    assert f"{record['test']['accuracy']:.2%}" in cover
    assert "of 40 test pictures named right" in cover
    assert "nothing published to compare with" in cover


def test_it_holds_what_the_run_recorded(page, run):
    record = json.loads((run / "result.json").read_text(encoding="utf-8"))
    cells = page.said["td"]
    assert f"{record['test']['loss']:.4f}" in cells
    for line in record["history"]:
        assert f"{line['val_accuracy']:.4f}" in cells
    for name, row in zip(NAMES, record["test"]["confusion"], strict=True):
        assert name in cells  # as it is: the <b> of a class is text, not a tag
        assert any(re.search(rf"{re.escape(name)} +{' +'.join(map(str, row))}$", block, re.M) for block in page.said["pre"])  # fmt: skip
    whole = "".join(page.said["main"])
    assert "components carry" in whole
    assert "alexnet report first" in page.said["pre"][-1]
    splits = json.loads((run / "splits.json").read_text())
    assert splits["fingerprint"] in whole
    rows = [cells[n : n + 2] for n in range(len(cells) - 1)]
    for role, indices in splits["indices"].items():
        assert [role, f"{len(indices):,}"] in rows, "which pictures were for what"


def test_a_page_that_is_printed_breaks_where_it_may(written):
    text = written.read_text(encoding="utf-8")
    printed = text[text.index("@media print") : text.index("</style>")]
    assert "size: A4" in text
    assert "break-after: page" in printed  # of the cover
    assert "h2.run { break-before: page" in printed
    assert "break-inside: avoid" in printed


# --- several runs ------------------------------------------------------------------------------


def test_several_runs_are_compared_first(run, kept, tmp_path):
    second = train(tmp_path / "second", kept, **{"train.epochs": "1 epochs", "optim.lr": 0.02})
    out = alexnet.report([run, second], tmp_path / "both.html", pictures=0, device="cpu")
    page = Read(out.read_text(encoding="utf-8"))
    chapters = [text for level, text in page.heads[2:] if level == 2]
    assert chapters == ["The runs side by side", "first", "second"]
    keys = [cell for cell in page.said["td"] if cell in ("optim.lr", "train.epochs", "train.batch")]
    assert sorted(set(keys)) == ["optim.lr", "train.epochs"]
    assert "The same data set as in the run before." in page.said["p"]
    assert "Features" not in [text for _, text in page.heads]


# --- languages ---------------------------------------------------------------------------------


def test_both_languages_say_the_same_things_with_the_same_gaps():
    english, korean = words("en"), words("ko")
    assert english.keys() == korean.keys()
    for key, text in english.items():
        assert text.count("{}") == korean[key].count("{}"), key
    assert all(re.search("[가-힣]", text) for key, text in korean.items() if key != "lang")


def words_of_a_verdict(language: str) -> tuple[str, str]:
    """What the cover and the chapter of the result say of one run."""
    verdict = {
        "published": 0.70,
        "measured": 0.75,
        "difference": 0.05,
        "interval": [0.74, 0.76],
        "met": True,
        "published_loss": None,
        "published_seconds_per_epoch": None,
        "published_hardware": "",
    }
    test = {"count": 9000, "top": {"1": 0.75}, "interval": [0.74, 0.76], "loss": 1.0}
    speed = dict.fromkeys(SPEEDS, 1.0) | {"pictures": 9}
    test |= {"calibration_error": 0.1, "views": "centre"}
    record = {"test": test, "speed": speed, "verdict": verdict, "changed": {}}
    run: Any = SimpleNamespace(record=record, result=SimpleNamespace(history=[{}]))
    page = Page(words(language))
    chapters.result(page, run)
    return writing.verdict(page.say, run), page._body[-1]


@pytest.mark.parametrize(("language", "word"), [("en", "beaten"), ("ko", "상회")])
def test_cover_and_chapter_say_the_same_of_a_published_number(language, word):
    cover, chapter = words_of_a_verdict(language)
    assert cover.endswith(f": {word}")
    assert chapter.endswith(f": {word}.</p>")


def test_the_cover_counts_the_recipes():
    plans = [SimpleNamespace(name=name) for name in ("a", "b")]
    runs: Any = [SimpleNamespace(recipe=plan, record={"date": "d"}) for plan in plans]
    say = words("en")
    assert ("Recipe", "a") in writing._facts(say, writing.Cover(), runs[:1])
    assert ("Recipes", "a, b") in writing._facts(say, writing.Cover(), runs)


def test_why_classes_overlap_in_korean():
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    labels = np.arange(60) % 2
    space = Embedding(vectors, labels, np.arange(60), ("a", "b"), "fc7", "flatten", "own/test")
    said = embedding.text(embedding.view(space, 2, "m"), words("ko"))
    assert "클래스가 서로 겹침 (실루엣 계수" in said
    assert all(re.search("[가-힣]", line) for line in said.splitlines())
    assert re.findall("classes|variance|picture", said) == []


def test_every_word_is_said_somewhere():
    """A key of words.toml stands in the code, or is a verdict of two words."""
    folder = Path(writing.__file__).parents[1]
    code = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    verdicts = {"another_protocol", "not_met"}
    unsaid = {key for key in words("en") if not re.search(f"[\"']{key}[\"']", code)}
    assert unsaid - verdicts == set()


@pytest.mark.parametrize(
    ("device", "said"), [("cpu", "it gives the same bits"), ("cuda:0", "but not to the bit")]
)
def test_what_a_repetition_gives_depends_on_the_device(device, said):
    record = {"commit": "c", "seed": 0, "command": "x", "environment": {"device": device}}
    page = Page(words("en"))
    chapters.repeat(page, SimpleNamespace(record=record, fingerprint="f"), "")
    assert said in "".join(page._body)


def test_a_report_in_korean(run, tmp_path):
    out = alexnet.report(run, tmp_path / "r.html", language="ko", pictures=0, device="cpu")
    text = out.read_text(encoding="utf-8")
    assert '<html lang="ko">' in text
    assert "테스트 이미지 40장에 대한 정확도" in text
    assert "그림 1" in text


# --- what is refused, what is missing ----------------------------------------------------------


def test_a_file_that_is_no_report_is_left_alone(run, tmp_path):
    other = tmp_path / "thesis.html"
    other.write_text("<html>years of work")
    for name, said in (("thesis.html", "is no report"), ("r.pdf", r"ends in \.html")):
        with pytest.raises(UsageError, match=said):
            alexnet.report(run, tmp_path / name, device="cpu")
    assert other.read_text() == "<html>years of work"


def test_wrong_calls(run, tmp_path):
    with pytest.raises(UnknownName, match="unknown language 'de'"):
        alexnet.report(run, tmp_path / "r.html", language="de", device="cpu")
    with pytest.raises(UsageError, match="0 runs"):
        alexnet.report([], tmp_path / "r.html", device="cpu")
    with pytest.raises(CheckpointError, match="holds no run"):
        alexnet.report(tmp_path, tmp_path / "r.html", device="cpu")
    with pytest.raises(UsageError, match="device 'tpu' is not on this machine"):
        alexnet.report(run, tmp_path / "r.html", device="tpu")
    assert list(tmp_path.iterdir()) == []


def test_without_its_data_a_report_says_what_is_missing(run, kept, tmp_path, capsys):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    gone = str(tmp_path / "gone")
    for name in ("recipe.toml",):
        text = (copy / name).read_text(encoding="utf-8")
        (copy / name).write_text(text.replace(kept, gone), encoding="utf-8")
    out = alexnet.report(copy, device="cpu")
    page = Read(out.read_text(encoding="utf-8"))
    told = [p for p in page.said["p"] if p.startswith("The data set could not be opened")]
    assert len(told) == 1
    assert "gone" in told[0]
    assert "the report has no pictures" in capsys.readouterr().out
    assert len(page.all("figure")) == 3  # network, curves, confusion


def test_other_pictures_than_the_runs_are_not_shown_as_its_own(run, kept, tmp_path, capsys):
    other = shapes.draw(160, seed=7)
    place = arrays.keep(tmp_path / "other", {"train": (other.images, other.labels)}, NAMES)
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    text = (copy / "recipe.toml").read_text(encoding="utf-8")
    (copy / "recipe.toml").write_text(text.replace(kept, place), encoding="utf-8")
    alexnet.report(copy, pictures=0, device="cpu")
    assert "began with" in capsys.readouterr().out


# --- one element after the other ----------------------------------------------------------------


def test_every_text_is_escaped():
    page = Page(words("en"))
    page.head("<a>")
    page.line("<i>&")
    page.points(["<u>"])
    page.block("<pre>")
    page.table([{"<th>": "<td>"}], "<caption>")
    page.figure(b"x", '"<img>"')
    found = Read(page.html("<title>", ""))
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"i", "u"}
    assert found.said["p"] == ["<i>&"]
    assert found.all("img")[0]["alt"] == '"<img>"'


def test_a_table_without_rows_is_none():
    page = Page(words("en"))
    page.table([], "nothing")
    assert "<table" not in page.html("t", "")
