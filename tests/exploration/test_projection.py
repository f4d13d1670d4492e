"""Principal components against centring, covariance and eigenvectors written out in NumPy."""

from __future__ import annotations

import builtins
import math
import sys

import numpy as np
import pytest

from alexnet.errors import UsageError
from alexnet.exploration import projection
from alexnet.exploration.embedding import Embedding
from alexnet.exploration.projection import project, separation


def space_of(vectors) -> Embedding:
    n = len(vectors)
    labels, indices = np.zeros(n, np.int64), np.arange(n)
    return Embedding(np.float32(vectors), labels, indices, ("a",), "fc7", "flatten", "made/up")


def by_eigenvectors(vectors, components):
    """Centre, take the covariance, keep the eigenvectors of the largest eigenvalues."""
    centred = vectors - vectors.mean(0)
    covariance = centred.T @ centred / (len(vectors) - 1)
    values, axes = np.linalg.eigh(covariance)
    chosen = np.argsort(values)[::-1][:components]
    return centred @ axes[:, chosen], axes[:, chosen].T, values[chosen] / values.sum()


# Few values, decomposed whole; many, by iteration; more values than pictures.
@pytest.mark.parametrize(("n", "d", "k"), [(200, 12, 2), (900, 700, 3), (520, 800, 5), (40, 60, 3)])
def test_against_centring_covariance_eigenvectors(n, d, k):
    draw = np.random.default_rng(n)
    vectors = draw.normal(size=(n, d)) * 0.9 ** np.arange(d) * 5 + draw.normal(size=d) * 3
    found = project(space_of(vectors), k)
    points, axes, shares = by_eigenvectors(np.float32(vectors).astype(np.float64), k)
    signs = np.sign((found.axes * axes).sum(1))  # arbitrary
    np.testing.assert_allclose(found.axes * signs[:, None], axes, atol=2e-4)
    np.testing.assert_allclose(found.points * signs, points, atol=2e-3 * np.abs(points).max())
    assert found.shares == pytest.approx(shares, rel=1e-4)
    np.testing.assert_allclose(found.centre, np.mean(vectors, axis=0), atol=2e-6, rtol=2e-6)


def test_every_component_gives_the_distances_back():
    vectors = np.random.default_rng(0).normal(size=(30, 6))
    found = project(space_of(vectors), 6)
    assert sum(found.shares) == pytest.approx(1, abs=1e-6)
    before = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    after = np.linalg.norm(found.points[:, None] - found.points[None], axis=2)
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_the_same_vectors_give_the_same_bits():
    vectors = np.random.default_rng(0).normal(size=(600, 550))
    first, second = (project(space_of(vectors), 3).points for _ in "ab")
    assert np.array_equal(first, second)


def test_vectors_that_are_all_alike_carry_nothing():
    found = project(space_of(np.ones((5, 4))), 2)
    assert found.shares == (0, 0)
    assert not found.points.any()


@pytest.mark.parametrize("components", [0, 5])
def test_components_that_there_are_not(components):
    with pytest.raises(UsageError, match=r"10 pictures of 4 values; choose 1 to 4"):
        project(space_of(np.random.default_rng(0).normal(size=(10, 4))), components)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    whole = builtins.__import__

    def missing(name, *rest, **more):
        if name.partition(".")[0] == "sklearn":
            raise ImportError(name)
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with pytest.raises(UsageError, match=r"pip install scikit-learn .*\.\[explore\]"):
        project(space_of(np.eye(4)))


# --- separation ------------------------------------------------------------------------------


def three_groups(apart: float) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 2, 3], 50)
    centres = np.array([[0, 0], [apart, 0], [0, 3 * apart]])[np.repeat([0, 1, 2], 50)]
    return (draw.normal(size=(150, 2)) + centres).astype(np.float32), labels


def silhouette_written_out(points, labels):
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    shares = []
    for i, label in enumerate(labels):
        own = (labels == label) & (np.arange(len(labels)) != i)
        a = distances[i][own].mean()
        b = min(distances[i][labels == k].mean() for k in set(labels) - {label})
        shares.append((b - a) / max(a, b))
    return np.mean(shares)


def test_separation_by_formulas_written_out():
    points, labels = three_groups(2.0)
    found = separation(points, labels, ("a", "nobody", "c", "d"))
    assert found is not None
    assert found.silhouette == pytest.approx(silhouette_written_out(points, labels), abs=1e-5)
    total = np.var(points, axis=0).sum()
    within = np.mean([np.var(points[labels == k], axis=0).sum() for k in (0, 2, 3)])
    assert found.ratio == pytest.approx((total - within) / within, rel=1e-5)  # the same size each
    assert found.nearest == ("a", "c")
    assert found.nearest_spreads == pytest.approx(2 / math.sqrt(2), rel=0.15)
    assert found.compared == 150


def test_classes_further_apart_score_higher():
    scores = [separation(*three_groups(apart), tuple("abcd")) for apart in (0.0, 2.0, 20.0)]
    assert [s.silhouette for s in scores] == sorted(s.silhouette for s in scores)
    assert [s.ratio for s in scores] == sorted(s.ratio for s in scores)
    assert abs(scores[0].silhouette) < 0.05
    assert scores[2].silhouette > 0.9


def test_pictures_that_coincide_are_infinitely_apart_and_still_json():
    points = np.repeat(np.float32([[0, 0], [1, 0]]), 3, axis=0)
    found = separation(points, np.repeat([0, 1], 3), ("a", "b"))
    assert found is not None
    assert (found.ratio, found.nearest_spreads, found.silhouette) == (math.inf, math.inf, 1.0)
    assert found.to_json()["between_over_within"] is None


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_nothing_to_separate(labels):
    assert separation(np.eye(3), np.array(labels), tuple("abc")) is None


def test_a_silhouette_is_taken_over_so_many_at_most(monkeypatch):
    monkeypatch.setattr(projection, "COMPARED", 60)
    points, labels = three_groups(20.0)
    found = separation(points, labels, tuple("abcd"))
    assert found is not None
    assert found.compared == 60
    assert found.silhouette > 0.9
