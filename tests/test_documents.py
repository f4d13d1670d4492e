"""Figures in the documents, against the tables that they come from; what README and Makefile install."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from alexnet.benchmark.predict import predict
from alexnet.models import table, zoo
from alexnet.models.split import passing

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CPU = "https://example.org/cpu"


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


def test_the_predictions_in_speed_md():
    """Every predicted figure follows from the table and the two rates that stand beside it."""
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    cases = [
        ("alexnet-cifar", 500, "muon", 0.4012e12, "winograd"),
        ("keras-lab", 128, "sgd", 0.3783e12, "winograd"),
        ("alexnet-2012", 128, "sgd", 0.3961e12, "winograd"),
        *(("keras-lab", batch, "sgd", 2.15e12, "direct") for batch in (64, 128, 512)),
    ]
    for name, batch, rule, rate, convolutions in cases:
        how = {"precision": "bf16", "optimizer": rule, "matrix_rate": rate, "memory_rate": 25e9}
        found = predict(zoo.network(name), batch=batch, convolutions=convolutions, **how)
        cells = f"| {1e3 * found.seconds:,.0f} | {found.share:.2f} |".replace(" 0.", " .")
        assert cells in text, (name, batch, cells)
        if (batch, rate) == (128, 2.15e12):
            for kind, seconds in found.by_kind().items():
                assert kind == "other" or f"| {kind} | {1e3 * seconds:.0f} |" in text


def test_the_two_towers_in_explained_md():
    text = (DOCS / "explained.md").read_text(encoding="utf-8")
    for name, maps in (("alexnet-2012", 48), ("one-tower", 96)):
        steps = {step.row.name: step for step in table.trace(zoo.network(name))}
        assert steps["conv2"].parameters == 256 * maps * 25 + 256
        assert f"{steps['conv2'].parameters:,}" in text


def test_the_readme_installs_the_torch_of_the_constraints():
    held = re.findall(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"`torch==(\S+)` for `torch`", readme) == held


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
@pytest.mark.parametrize(("given", "told"), [([], []), ([f"TORCH_INDEX={CPU}"], [CPU])])
def test_make_takes_torch_from_where_it_is_told(given, told, tmp_path):
    call = ["make", "-n", "demo", f"VENV={tmp_path}/venv", *given]
    said = subprocess.run(call, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    assert re.findall(r"-c constraints\.txt (?:--extra-index-url (\S+) )?-e", said) == (
        told or [""]
    )
