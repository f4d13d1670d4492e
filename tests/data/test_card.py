from __future__ import annotations

import json

import numpy as np
import pytest

from alexnet.data import card as module
from alexnet.data.cache import Dataset, Pictures
from alexnet.data.card import card, channel_statistics, render


@pytest.fixture
def made() -> Dataset:
    images = np.random.RandomState(0).randint(0, 256, (60, 5, 4, 3)).astype(np.uint8)
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    parts = {
        "train": Pictures(images[:50], labels[:50]),
        "test": Pictures(images[50:], labels[50:]),
    }
    return Dataset("made", parts, ("one", "two", "three"), {"uno": "one"}, "a test", "ab" * 32)


@pytest.mark.parametrize("chunk", [1, 500, 10**6])
def test_statistics_are_numpys_over_all_pixels(
    made: Dataset, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    images = made.parts["train"].images
    mean, deviation = channel_statistics(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, images.std(axis=(0, 1, 2)), rtol=1e-12)


def test_the_card_counts_and_survives_json(made: Dataset) -> None:
    told = json.loads(json.dumps(card(made)))
    assert told["classes"] == ["one", "two", "three"]
    assert told["fingerprint"] == "ab" * 32
    train, test = told["parts"]["train"], told["parts"]["test"]
    assert (train["count"], train["shape"], train["dtype"]) == (50, [5, 4, 3], "uint8")
    assert train["per_class"] == {"one": 10, "two": 20, "three": 20}
    assert test["per_class"] == {"one": 0, "two": 0, "three": 10}
    np.testing.assert_allclose(np.array(train["mean_255"]) / 255, train["mean"])
    np.testing.assert_allclose(np.array(train["std_255"]) / 255, train["std"])


def test_the_rendered_card_shows_all_of_it(made: Dataset) -> None:
    told = card(made)
    text = render(told)
    lines = {line.split("  ")[1]: line.split() for line in text.splitlines()[1:]}
    assert lines["three"] == ["three", "20", "10"]
    assert lines["pictures"] == ["pictures", "50", "10"]
    assert f"{told['parts']['train']['mean'][0]:.4f}" in text
    assert "uno = one" in text
    assert "a test" in text
    assert max(map(len, text.splitlines())) <= 100
