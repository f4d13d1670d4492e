"""Vectors of any layer, whatever the batch; neighbours against all distances written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import alexnet
from alexnet.data.loader import Source
from alexnet.errors import DataError, UnknownName, UsageError
from alexnet.exploration import embedding
from alexnet.exploration.embedding import Embedding, embed, neighbours, some
from alexnet.run.classifier import fresh
from alexnet.run.device import Device
from alexnet.run.named import Named

CPU = Device(torch.device("cpu"), "float32")
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def model():
    return fresh("alexnet-cifar")


@pytest.fixture(scope="module")
def source():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (23, 32, 32, 3), dtype=np.uint8)
    return Source(images, draw.integers(0, 3, 23), np.arange(23)[::-1].copy())


def look(model, source, **how):
    return embed(model, Named("made/up", source, CLASSES), CPU, **how)


def test_vectors_are_the_outputs_of_the_layer_in_the_order_of_the_split(model, source):
    space = look(model, source, layer="fc7", batch=5)
    x = model.preprocessing(torch.from_numpy(source.images[source.chosen]))
    expected = model.module.activations(x, ["fc7"])["fc7"].detach().numpy()
    assert space.vectors.dtype == np.float32
    np.testing.assert_allclose(space.vectors, expected, rtol=1e-4, atol=1e-5)
    assert np.array_equal(space.indices, source.chosen)
    assert np.array_equal(space.labels, source.labels[source.chosen])
    assert (space.classes, space.layer, space.data) == (CLASSES, "fc7", "made/up")


@pytest.mark.parametrize(("name", "layer"), [("alexnet-cifar", "fc7"), ("cifar-eight", "flatten")])
def test_without_a_layer_it_is_fc7_or_what_the_last_dense_row_takes(name, layer, source):
    space = look(fresh(name), source)
    assert space.layer == layer
    assert np.array_equal(space.vectors, look(fresh(name), source, layer=layer).vectors)


def test_files_are_named_in_the_order_of_the_split(model, source):
    names = tuple(f"{n}.png" for n in range(23))
    space = embed(model, Named("made/up", source, CLASSES, lambda: names), CPU)
    assert space.files == names[::-1]
    assert look(model, source).files is None


def test_maps_are_flattened_or_averaged(model, source):
    flat = look(model, source, layer="pool2").vectors
    mean = look(model, source, layer="pool2", pool="mean").vectors
    side = 7  # 32 -> 15 -> 7
    assert flat.shape == (23, 96 * side * side)
    np.testing.assert_allclose(mean, flat.reshape(23, 96, -1).mean(2), rtol=1e-4, atol=1e-6)


def test_the_models_mode_is_left_as_it_was(model, source):
    model.module.train()
    first = look(model, source).vectors
    assert model.module.training
    model.module.eval()
    assert np.array_equal(first, look(model, source).vectors)  # no dropout, no batch statistics


def test_only_a_batch_of_maps_is_in_memory(model, source, monkeypatch):
    seen = []
    whole = model.module.activations
    monkeypatch.setattr(
        model.module, "activations", lambda x, names: (seen.append(len(x)), whole(x, names))[1]
    )
    look(model, source, batch=10)
    assert seen == [10, 10, 3]


def test_what_would_not_fit_is_refused_after_one_batch(model, source, monkeypatch):
    monkeypatch.setattr(embedding, "MOST_BYTES", 23 * 4 * 64 * 15 * 15 - 1)
    with pytest.raises(UsageError, match=r"pool 'mean'.* a count of at most 22"):
        look(model, source, layer="pool1")
    assert look(model, source, layer="pool1", pool="mean").vectors.shape == (23, 64)


def test_what_is_not_there_is_named(model, source):
    with pytest.raises(UnknownName, match="did you mean 'fc7'"):
        look(model, source, layer="fc77")
    with pytest.raises(UnknownName, match="did you mean 'mean'"):
        look(model, source, pool="meen")
    with pytest.raises(DataError, match="made/up holds no pictures"):
        look(model, Source(source.images, source.labels, np.arange(0)))


def test_some_are_drawn_by_the_seed_in_the_order_of_the_split(source):
    drawn = some(source, 9, seed=4).chosen
    assert np.array_equal(drawn, some(source, 9, seed=4).chosen)
    assert not np.array_equal(drawn, some(source, 9, seed=5).chosen)
    assert list(drawn) == [i for i in source.chosen if i in set(drawn)]
    assert len(set(drawn)) == 9
    assert some(source, None) is source
    for count in (0, 24):
        with pytest.raises(UsageError, match="choose 1 to 23"):
            some(source, count)


def space_of(vectors) -> Embedding:
    n = len(vectors)
    labels, indices = np.zeros(n, np.int64), np.arange(n)
    return Embedding(np.float32(vectors), labels, indices, ("a",), "fc7", "flatten", "made/up")


def test_neighbours_are_the_nearest_of_all_distances():
    vectors = np.random.default_rng(1).normal(size=(2500, 7))
    space = space_of(vectors)
    distances = np.linalg.norm(space.vectors[:, None] - space.vectors[None, [1234]], axis=2)[:, 0]
    found = neighbours(space, 1234, 6)
    assert [n.position for n in found] == np.argsort(distances)[1:7].tolist()
    assert [n.distance for n in found] == pytest.approx(np.sort(distances)[1:7], rel=1e-5)


def test_pictures_that_are_nearly_the_same_far_from_the_origin_are_told_apart():
    """|x|^2 + |y|^2 - 2xy in float32 gives these as equal, or below zero."""
    space = space_of([[4096.0, 4096.0], [4096.0, 4096.25], [4096.0, 4096.5], [0, 0]])
    assert [(n.position, n.distance) for n in neighbours(space, 0, 2)] == [(1, 0.25), (2, 0.5)]


@pytest.mark.parametrize(("position", "count"), [(-1, 1), (4, 1), (0, 0), (0, 4)])
def test_neighbours_that_are_not_there_are_refused(position, count):
    with pytest.raises(UsageError, match="choose"):
        neighbours(space_of(np.eye(4)), position, count)


def test_the_verb_takes_a_network_by_name_and_any_data(data_root):
    space = alexnet.embed(
        "alexnet-cifar", "shapes/test", layer="norm6", count=20, device="cpu", data_root=data_root
    )
    assert space.vectors.shape == (20, 512)
    assert space.data == "shapes/test"
    assert "square" in space.classes
    with pytest.raises(UsageError, match="there is no data set to look at"):
        alexnet.embed("alexnet-cifar")
