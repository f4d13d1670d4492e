"""The page and the picture of a folder of records."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from alexnet.benchmark.record import Row, Spread, keep, record
from alexnet.errors import DataError
from alexnet.reporting import benchmarks
from alexnet.reporting.keeping import annotate
from alexnet.run.device import Device

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
CPU = Device(torch.device("cpu"), "float32")


@pytest.fixture
def folder(tmp_path):
    peer = Row("slow", "s", Spread.of([2.0]))
    quick = Row("quick", "s", Spread.of([1.0, 3.0, 1.0]), headline=True).over(peer)
    gone = Row("gone", "s", note="gone: not installed", headline=True)
    for suite in ("start", "step"):
        command = f"alexnet bench {suite}"
        found = record(suite, [peer, quick, gone], CPU, command=command, settings={})
        keep(found, tmp_path / f"{suite}-a.json")
    return tmp_path


def test_the_page_has_every_row_and_the_command_that_made_it(folder):
    page, picture = benchmarks.write_page(folder)
    text = page.read_text(encoding="utf-8")
    assert text.index("## step") < text.index("## start")
    for suite in ("step", "start"):
        assert f"`alexnet bench {suite}`" in text
    assert text.count("| quick | 1.00 s | 1.00 to 3.00 | 3 | slow | 0.500 |") == 2
    assert text.count("gone: not installed") == 2
    with Image.open(picture) as image:
        assert image.format == "PNG"


def test_the_headlines_are_those_that_were_measured(folder):
    table = benchmarks.headlines(benchmarks.collect(folder)).splitlines()
    assert len(table) == 2 + 2
    assert all(line.endswith("`alexnet bench step` |") for line in table[2:3])
    assert "gone" not in "".join(table)


def test_a_step_of_before_is_read_too():
    path = ROOT / "benchmarks" / "step-keras-lab-128-bf16.json"
    if not path.is_file():
        pytest.skip("the record has been measured anew under another name")
    found = benchmarks.speed.read(path)
    row = found["rows"][0]
    assert row["measured"]["min"] <= row["measured"]["median"] <= row["measured"]["max"]
    assert row["ratio"] > 0


def test_the_records_of_the_project_can_be_read():
    records = benchmarks.collect(ROOT / "benchmarks")
    assert all("`alexnet bench " in part for part in benchmarks.page(records).split("\n## ")[1:])


def test_a_remark_on_a_record_stands_below_its_tables(folder):
    annotate(folder / "step-a.json", "beside another run")
    records = benchmarks.collect(folder)
    assert benchmarks.page(records).count("Beside another run.") == 1
    table = benchmarks.headlines(records)
    assert "| step | quick | 1.00 s [1] |" in table
    assert "| start | quick | 1.00 s |" in table
    assert table.endswith("\n\n[1] Beside another run.")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no record"):
        benchmarks.collect(tmp_path)


def test_headlines_go_between_the_comments_and_nowhere_else():
    import update_benchmarks

    text = f"a\n{update_benchmarks.START}old\n{update_benchmarks.END}\nb\n"
    once = update_benchmarks.with_headlines(text, "| t |")
    assert once == text.replace("old", "| t |")
    assert update_benchmarks.with_headlines(once, "| t |") == once
    assert update_benchmarks.with_headlines("nothing", "| t |") == "nothing"
