"""The check that is run by hand on a GPU: on small maps, in Triton's interpreter."""

# ruff: noqa: E402 - what follows needs triton

from __future__ import annotations

import sys
from pathlib import Path

import torch
from interpreted import needs_triton

needs_triton()
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import check_gpu

from alexnet.models.fused import folding, response_norm


def test_what_a_gpu_is_checked_for_is_right(capsys):
    assert check_gpu.main("cpu", side=3, weights=1100) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"{len(lines)} of {len(lines)} right"
    for what in (
        "response norm, bfloat16",
        "folded, float32",
        "epilogue, bfloat16",
        "update, adam",
    ):
        assert any(line.startswith(what) and "apart by" in line for line in lines), what


def test_what_is_wrong_is_told(monkeypatch, capsys):
    normalise = response_norm.normalise
    monkeypatch.setattr(response_norm, "normalise", lambda *of, **how: normalise(*of, **how) * 1.1)
    monkeypatch.setattr(folding, "convolve", None)
    monkeypatch.setattr(check_gpu, "EPILOGUES", [])
    monkeypatch.setattr(check_gpu.optim, "WEIGHT_BY_WEIGHT", ())
    assert check_gpu.main("cpu", side=3) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"0 of {len(lines)} right"
    assert sum("WRONG: apart by" in line for line in lines) == 2 * len(check_gpu.NORMS)
    assert sum("WRONG: TypeError" in line for line in lines) == 2 * len(check_gpu.FOLDED)


def test_without_the_device_it_is_said(capsys):
    assert check_gpu.main("tpu") == 1
    assert "device 'tpu' is not on this machine" in capsys.readouterr().out


def test_what_is_not_a_number_is_far_apart():
    assert check_gpu.apart(torch.tensor([1.0, torch.nan]), torch.ones(2)) == torch.inf
