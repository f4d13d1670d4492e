"""The published ``keras-lab`` program by Keras itself, of any size: what LOG.md sets beside ours.

    make parity
    .venv-parity/bin/python tools/keras_lab.py FOLDER --size 67 --epochs 10 --seed 0

``FOLDER``: where ``alexnet data cifar10`` keeps its arrays (``train-images.npy`` and the others). After the test,
its batch norms' statistics are taken anew from 100 batches of 64 training pictures, and it is tested again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

BATCH, BATCHES = 64, 100


def network(size: int) -> keras.Sequential:
    """Return the lab's network for pictures ``(size, size, 3)``."""
    same: Any = {"padding": "same", "activation": "relu"}
    first = layers.Conv2D(96, 11, strides=4, activation="relu")
    return keras.Sequential(
        [
            *(keras.Input((size, size, 3)), first),
            *(layers.BatchNormalization(), layers.MaxPooling2D(3, 2)),
            *(layers.Conv2D(256, 5, **same), layers.BatchNormalization()),
            *(layers.MaxPooling2D(3, 2), layers.Conv2D(384, 3, **same)),
            *(layers.Conv2D(384, 3, **same), layers.Conv2D(256, 3, **same)),
            *(layers.BatchNormalization(), layers.MaxPooling2D(3, 2), layers.Flatten()),
            *(layers.Dense(4096, activation="relu"), layers.Dropout(0.5)),
            *(layers.Dense(4096, activation="relu"), layers.Dropout(0.5)),
            layers.Dense(10, activation="softmax"),
        ]
    )


def prepared(pictures: Any, labels: Any, size: int) -> tuple[Any, Any]:
    """Return what the lab feeds: 0..1, bilinear to ``size``, labels one-hot."""
    floats = tf.cast(pictures, tf.float32) / 255
    return tf.image.resize(floats, (size, size)), tf.one_hot(labels, 10)


def take_anew(model: keras.Sequential, pictures: np.ndarray, size: int) -> None:
    """Set every batch norm's statistics to those of ``BATCHES`` batches, of the weights as they are."""
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    sums = [np.zeros((2, norm.moving_mean.shape[0])) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # it keeps the last batch's
    for layer in model.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0.0
    for start in range(0, BATCH * BATCHES, BATCH):
        batch = pictures[start : start + BATCH]
        model(prepared(batch, np.zeros(len(batch), int), size)[0], training=True)
        for total, norm in zip(sums, norms, strict=True):
            mean = norm.moving_mean.numpy().astype(float)
            total += mean, norm.moving_variance.numpy() + mean**2
    for (mean, square), norm in zip((total / BATCHES for total in sums), norms, strict=True):
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(np.maximum(square - mean**2, 0))


def main() -> None:
    """Train, test, take the statistics anew, test again."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    for name, default in (("size", 227), ("epochs", 10), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    keras.utils.set_random_seed(asked.seed)
    read = {
        f"{part}-{what}": np.load(asked.folder / f"{part}-{what}.npy")
        for part in ("train", "test")
        for what in ("images", "labels")
    }
    images, labels = read["train-images"], read["train-labels"].astype(int)

    def fed(pictures: np.ndarray, classes: np.ndarray, batch: int, shuffled: int = 0) -> Any:
        found = tf.data.Dataset.from_tensor_slices((pictures, classes))
        found = found.shuffle(shuffled) if shuffled else found
        return found.batch(batch).map(lambda x, y: prepared(x, y, asked.size)).prefetch(2)

    model = network(asked.size)
    how: Any = {"loss": "categorical_crossentropy", "metrics": ["accuracy"], "jit_compile": False}
    model.compile(optimizer=keras.optimizers.Adam(1e-3), **how)
    test = fed(read["test-images"], read["test-labels"].astype(int), 500)
    model.fit(
        fed(images[:40_000], labels[:40_000], BATCH, 40_000),
        validation_data=fed(images[40_000:], labels[40_000:], 500),
        epochs=asked.epochs,
        verbose=2,
    )
    print("test loss, accuracy:", model.evaluate(test, verbose=0))
    take_anew(model, images, asked.size)
    model.compile(**how)
    print("test loss, accuracy by statistics anew:", model.evaluate(test, verbose=0))


if __name__ == "__main__":
    main()
