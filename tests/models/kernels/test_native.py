"""The compiled kernels: how they come about, where they are kept, and what is said where they cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from alexnet.models import kernels
from alexnet.models.kernels import native


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder, in which kernels are looked for as in a new process."""
    monkeypatch.delenv("ALEXNET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native._found.cache_clear()
    yield tmp_path / "cache" / "alexnet" / "kernels"
    native._found.cache_clear()


@pytest.fixture
def refused(monkeypatch, cache):
    """Kernels that are compiled and never load; yields the names of the files that were compiled."""
    made = []

    def run(command, **_):
        made.append(Path(command[-1]))
        made[-1].write_bytes(b"a library")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(native.subprocess, "run", run)
    return made


def again():
    """Ask for the kernels as another process would; returns the reason why there are none."""
    native._found.cache_clear()
    with pytest.raises(kernels.Unavailable) as found:
        native.ready()
    return str(found.value)


def compiler_that(tmp_path, monkeypatch, script):
    if sys.platform == "win32":
        pytest.skip("a script of the shell")
    program = tmp_path / "c++"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))


def test_without_a_compiler_the_reason_is_given(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(kernels.Unavailable, match=r"no C\+\+ compiler"):
        native.compiler()


def test_what_a_compiler_says_is_passed_on(monkeypatch, tmp_path, cache):
    compiler_that(tmp_path, monkeypatch, "echo 'no such option' >&2\nexit 3")
    assert "no such option" in again()


def test_what_a_compiler_says_in_another_encoding_is_passed_on(monkeypatch, tmp_path, cache):
    compiler_that(tmp_path, monkeypatch, r"printf 'pas trouv\351' >&2; exit 3")
    assert "cannot compile the kernels: pas trouv" in again()


def test_on_windows_nothing_is_compiled(monkeypatch, refused):
    monkeypatch.setattr(sys, "platform", "win32")
    assert again() == "the kernels are not compiled on Windows"
    assert refused == []


def test_a_file_that_does_not_load_is_compiled_again(cache):
    file = cache / f"kernels-{native._key()}.so"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"cut off")
    assert native.ready().line() > 0
    assert list(cache.iterdir()) == [file]


def test_what_was_compiled_here_and_does_not_load_is_not_compiled_by_every_process(refused, cache):
    reasons = {again() for _ in range(3)}
    assert len(refused) == 2  # what was there may have been cut off
    assert len(reasons) == 1
    assert str(cache) in reasons.pop()
    (file,) = cache.glob("*.so")
    os.utime(file, ns=(0, file.with_suffix(".refused").stat().st_mtime_ns + 1))
    again()
    assert len(refused) == 3  # another file than the one that was refused


def test_a_file_that_another_machine_has_made_meanwhile_stays(monkeypatch, refused, cache):
    """Two that share a home compile at once; the first has mapped its file when the second is done."""
    cache.mkdir(parents=True)
    file = cache / "kernels.so"
    native._compile(file)
    file.write_bytes(b"the first one's")
    native._compile(file)
    assert file.read_bytes() == b"the first one's"
    native._compile(file, anew=True)
    assert file.read_bytes() == b"a library"
    assert list(cache.iterdir()) == [file]


def test_a_cache_that_may_not_be_written_leaves_the_folder_of_data_sets(
    monkeypatch, cache, tmp_path
):
    written = {tmp_path}
    monkeypatch.setattr(os, "access", lambda folder, _: folder in written)
    assert native.folder() == cache
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "data"))
    assert native.folder() == cache
    written.clear()
    assert native.folder() == tmp_path / "data" / "kernels"
    cache.mkdir(parents=True)
    assert native.folder() == tmp_path / "data" / "kernels"
    written.add(cache)
    assert native.folder() == cache
    monkeypatch.delenv("ALEXNET_DATA")
    written.clear()
    assert native.folder() == cache  # where the reason will be said


def test_unlike_processors_have_kernels_of_their_own(monkeypatch):
    keys = set()
    for machine, flags in (
        ("x86_64", {"avx512_f": True}),
        ("x86_64", {"avx512_f": False}),
        ("aarch64", {"avx512_f": False}),
    ):
        monkeypatch.setattr(native.platform, "machine", lambda machine=machine: machine)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags)
        keys.add(native._key())
        monkeypatch.setattr(native.platform, "node", lambda: "another host")
        assert native._key() in keys
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("machine", "flag"),
    [("x86_64", "-march=native"), ("arm64", "-mcpu=native"), ("aarch64", "-mcpu=native")],
)
def test_the_processors_own_instructions_are_asked_for(monkeypatch, machine, flag):
    assert native.tuned(machine) == flag


def test_without_a_home_there_is_a_reason(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(native.Path, "home", homeless)
    native._found.cache_clear()
    try:
        with pytest.raises(kernels.Unavailable, match="home directory"):
            native.ready()
    finally:
        native._found.cache_clear()
