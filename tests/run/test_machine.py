"""The environment page against other ways to ask the same."""

from __future__ import annotations

import importlib.metadata
import json
from types import SimpleNamespace

import psutil
import pytest
import torch

from alexnet import limits
from alexnet.reporting import environment
from alexnet.run import computing, machine
from alexnet.run.device import Device

CPU = Device(torch.device("cpu"), "float32")


def test_memory_and_cores_are_what_psutil_finds():
    found = machine.machine(CPU)
    assert found["cores"] == psutil.cpu_count()
    assert 0 < found["cores_usable"] <= found["cores"]
    assert 0 < found["memory_bytes"] <= psutil.virtual_memory().total


def test_a_containers_limit_counts(monkeypatch):
    monkeypatch.setattr(machine, "_physical_memory", lambda: 1 << 34)
    for limit, found in ((1 << 30, 1 << 30), (None, 1 << 34), (1 << 40, 1 << 34)):
        monkeypatch.setattr(limits, "memory", lambda limit=limit: limit)
        assert machine.memory() == found


def test_packages_are_those_that_are_needed_with_their_versions():
    found = machine.versions()
    assert {"torch", "numpy", "click", "rich"} <= found.keys()
    assert list(found) == sorted(found)
    for name, version in found.items():
        assert importlib.metadata.version(name) == version
    assert "markupsafe" in found  # of jinja2, of torch
    assert "pip" not in found


def test_a_source_tree_that_was_never_installed(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGE", "no-such-package")
    assert {"torch", "numpy", "matplotlib"} <= machine.versions().keys()


def test_accelerators_are_counted_and_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    card = SimpleNamespace(name="A card", total_memory=80 << 30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    found = machine.machine(CPU)
    assert found["accelerator_count"] == 2
    assert found["accelerators"][1]["device"] == "cuda:1"
    text = environment.text(found)
    assert "cuda:1" in text
    assert "A card, 80.0 GiB, compute capability 9.0" in text


def test_the_page_as_text_json_and_markdown(monkeypatch):
    found = machine.machine(CPU)
    json.dumps(found)
    text, marked = environment.text(found), environment.markdown(found)
    for page in (text, marked):
        assert found["system"] in page
        assert found["packages"]["torch"] in page
        assert "float32, 1 threads" in page
    tables = marked.split("\n\n")
    assert [len({line.count("|") for line in table.splitlines()}) for table in tables] == [1, 1]
    assert f"| torch | {found['packages']['torch']} |" in tables[1]


def test_free_memory_is_what_the_system_would_give():
    free = machine.free_memory(torch.device("cpu"))
    if free is None:
        pytest.skip("this system does not tell")
    assert 0 < free <= psutil.virtual_memory().total
    limit = machine.memory()
    assert limit is None or free <= limit


def test_a_container_keeps_less_free_than_the_machine(monkeypatch):
    monkeypatch.setattr(machine, "_available_memory", lambda: 8 * 2**30)
    for left, found in ((2 * 2**30, 2 * 2**30), (0, 0), (None, 8 * 2**30), (2**40, 8 * 2**30)):
        monkeypatch.setattr(limits, "memory_left", lambda left=left: left)
        assert machine.free_memory(torch.device("cpu")) == found
    assert machine.free_memory(torch.device("mps")) is None


def test_what_torch_keeps_on_a_gpu_and_no_tensor_holds_is_free(monkeypatch):
    """As behind the first of two runs of a process, whose memory stays with torch's allocator."""
    gib, device = 2**30, torch.device("cuda")
    known = {"mem_get_info": (3 * gib, 80 * gib), "memory_reserved": 70 * gib}
    known |= {"memory_allocated": gib}
    for name, value in known.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert machine.free_memory(device) == computing.free_own_memory(device) == 72 * gib
