"""Figures in the documents about several processes, against the tables that they come from."""

from pathlib import Path

from alexnet.models import table, zoo
from alexnet.models.split import passing

DOCS = Path(__file__).parents[1] / "docs"


def test_the_bytes_in_parallel_md_are_those_of_the_tables():
    text = (DOCS / "parallel.md").read_text(encoding="utf-8")
    for name in ("alexnet-2012", "alexnet-2012-source"):
        found = passing(zoo.network(name), batch=128)
        assert f"{sum(p.forward + p.backward for p in found):,}" in text
    for part in passing(zoo.network("alexnet-2012"), batch=128):
        line = next(line for line in text.splitlines() if line.startswith(f"| {part.row} "))
        assert line.endswith(f"| {part.forward:,} | {part.backward:,} |")


def test_the_arithmetic_in_scaling_md():
    text = (DOCS / "scaling.md").read_text(encoding="utf-8")
    total = table.totals(table.trace(zoo.network("alexnet-2012")))
    pictures, weights = 1_281_167, total.trainable
    assert f"{pictures * 256 * 256 * 3:,}" in text
    assert f"{total.training_multiply_adds:,}" in text
    for ranks in (8, 16, 32):
        assert f"{2 * (ranks - 1) * weights * 4 // ranks:,}" in text


def test_the_arithmetic_in_studies_md():
    text = " ".join((DOCS / "studies.md").read_text(encoding="utf-8").split())
    steps = table.trace(zoo.network("alexnet-small", classes=10))
    total, first = table.totals(steps), steps[0].multiply_adds
    pictures = 12 * 8512
    assert f"{total.multiply_adds / 1e6:.1f} million multiply-adds forward" in text
    assert f"{total.training_multiply_adds / 1e6:.0f} million in training" in text
    assert f"{total.training_multiply_adds * pictures / 1e12:.1f} T multiply-adds" in text
    assert f"{2 * (total.training_multiply_adds - first) * pictures / 1e12:.1f} TFLOP" in text
    assert 8512 == 8522 // 64 * 64  # pictures of an epoch without its last, smaller batch
