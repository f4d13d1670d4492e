"""What Keras's ``fit`` and ``evaluate`` count as loss, which weights it keeps, how OpenCV resizes.

Each golden carries its inputs; ``tests/parity/test_published_semantics.py`` reads them.
"""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import formula
import keras
import numpy as np
from keras_semantics import SEQUENCES

COEFFICIENT = 2.0**-7  # of the L2 penalty
LABELS = [0, 2, 1, 0]


def losses() -> dict[str, Any]:
    """Return what a softmax network's losses are, sure and wrong, with a penalty on one kernel."""
    inputs = formula.draw(3400, (4, 5), -1.0, 1.0)
    kernels = [formula.draw(3401, (5, 6), -1.0, 1.0), formula.draw(3402, (6, 3), -40.0, 40.0)]
    cases = {}
    for name, penalised in (("plain", None), ("penalised", COEFFICIENT)):
        model = _network(penalised, kernels)
        truth = keras.utils.to_categorical(LABELS, 3)
        evaluated = model.evaluate(inputs, truth, batch_size=3, verbose=0)
        trained = model.train_on_batch(inputs, truth)
        after = [layer.kernel.numpy() for layer in model.layers]
        cases[name] = {"evaluate": evaluated, "train_on_batch": float(trained), "after": after}
    return {
        "coefficient": COEFFICIENT,
        "lr": 0.125,
        "inputs": inputs,
        "labels": LABELS,
        "kernels": kernels,
        "cases": cases,
    }


def _network(penalised: float | None, kernels: list[np.ndarray]) -> keras.Sequential:
    penalty = keras.regularizers.L2(penalised) if penalised else None
    layers = [
        keras.layers.Dense(6, activation="relu", use_bias=False, kernel_regularizer=penalty),
        keras.layers.Dense(3, activation="softmax", use_bias=False),
    ]
    model = keras.Sequential([keras.Input((5,)), *layers])
    model.set_weights(kernels)
    model.compile(keras.optimizers.SGD(0.125), "categorical_crossentropy", jit_compile=False)
    return model


class _Stub:
    """A model whose weights are the number of the epoch that made them."""

    def __init__(self) -> None:
        self.stop_training, self.epoch = False, -1

    def get_weights(self) -> int:
        return self.epoch

    def set_weights(self, epoch: int) -> None:
        self.epoch = epoch


def restored() -> dict[str, Any]:
    """Return which epoch's weights (0-based) a run ends with: the last one's, or the best one's."""
    return {
        "sequences": SEQUENCES,
        "cases": [
            {"patience": p, "best": b, "kept": {k: _kept(p, b, v) for k, v in SEQUENCES.items()}}
            for p in (1, 3, 10)
            for b in (False, True)
        ],
    }


def _kept(patience: int, best: bool, losses: list[float]) -> int:
    model = _Stub()
    rule = keras.callbacks.EarlyStopping(
        "val_loss", patience=patience, mode="min", restore_best_weights=best
    )
    rule.set_model(model)
    rule.on_train_begin()
    for epoch, loss in enumerate(losses):
        model.epoch = epoch
        rule.on_epoch_end(epoch, {"val_loss": loss})
        if model.stop_training:
            break
    rule.on_train_end()
    return model.epoch


RESIZES = [(32, 32, 128), (32, 32, 227), (64, 64, 32), (96, 80, 50), (7, 5, 300)]


def resize() -> dict[str, Any]:
    """Resize ``formula.pixels(seed, height, width)`` of bytes with OpenCV's INTER_LINEAR."""
    cases = []
    for number, (height, width, size) in enumerate(RESIZES):
        picture = formula.pixels(3300 + number, height, width)[0]
        found = cv2.resize(picture, (size, size))
        entry = {"seed": 3300 + number, "source": [height, width], "size": size}
        digest = hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest()
        cases.append({**entry, "sha256": digest, "first": found[0, :8].ravel()})
    return {
        "picture": "formula.pixels(seed, *source)[0]",
        "opencv": cv2.__version__,
        "cases": cases,
    }
