"""What Keras says of ``keras-lab``: its table, a forward pass, a gradient and five Adam steps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import formula
import keras
import numpy as np
import tensorflow as tf
from keras import layers

# Keras's own order of a layer's values.
SUFFIXES = ("weight", "bias", "running_mean", "running_var")


def build(dropout: float) -> keras.Sequential:
    """Build the lab's network as published, with its softmax, at 227x227x3 and ten classes."""
    return keras.Sequential(
        [
            keras.Input((formula.SIDE, formula.SIDE, 3)),
            layers.Conv2D(96, 11, strides=4, padding="valid", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(3, strides=2),
            layers.Conv2D(256, 5, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(3, strides=2),
            layers.Conv2D(384, 3, padding="same", activation="relu"),
            layers.Conv2D(384, 3, padding="same", activation="relu"),
            layers.Conv2D(256, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(3, strides=2),
            layers.Flatten(),
            layers.Dense(4096, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(4096, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(formula.CLASSES, activation="softmax"),
        ]
    )


def summary() -> dict[str, Any]:
    """Return the rows and totals of ``model.summary()``."""
    keras.utils.clear_session()
    model = build(dropout=0.5)
    lines: list[str] = []
    model.summary(print_fn=lambda line, line_break=True: lines.append(line))
    totals = [line.strip() for line in "\n".join(lines).splitlines() if "params:" in line]
    return {
        "rows": [
            {
                "name": layer.name,
                "type": type(layer).__name__,
                "output_shape": list(layer.output.shape),
                "parameters": layer.count_params(),
            }
            for layer in model.layers
        ],
        "totals": {re.sub(r" params:.*", "", line).lower(): line.split(": ")[1] for line in totals},
        "total": model.count_params(),
        "trainable": sum(math.prod(v.shape) for v in model.trainable_weights),
        "untrained": sum(math.prod(v.shape) for v in model.non_trainable_weights),
    }


def both(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Call ``make`` with Keras's default type set to float32, then to float64."""
    found = {}
    for floatx in ("float32", "float64"):
        keras.utils.clear_session()
        keras.config.set_floatx(floatx)
        found[floatx] = make()
    keras.config.set_floatx("float32")
    return found


def exact(value: float) -> float:
    """Guard a hyper-parameter in float64 from Keras, which casts Python's floats through float32.

    ``ops.cast(0.999, "float64")`` is 0.99900001287, which moves Adam's first step by 6e-6 of itself;
    a NumPy number stays whole. In float32 Keras is left alone.
    """
    return value if keras.config.floatx() == "float32" else np.float64(value)


def adam() -> keras.optimizers.Adam:
    """Return Adam with Keras's defaults."""
    return keras.optimizers.Adam(0.001, beta_1=exact(0.9), beta_2=exact(0.999))


def network() -> dict[str, Any]:
    """Return logits, loss, gradients and five steps, in both types."""
    return both(_network)


def _network() -> dict[str, Any]:
    model = build(dropout=0.0)  # masks cannot agree across frameworks
    model.compile(adam(), "categorical_crossentropy", jit_compile=False)
    load(model)
    pictures, labels = batch(0)
    found = {"logits_inference": _logits(model, pictures, training=False)}
    found["logits_training"] = _logits(model, pictures, training=True)
    found["running_after_one"] = {
        name: formula.summary(v) for name, v in read(model).items() if "running" in name
    }
    load(model)
    found["loss"], found["gradients"] = _gradients(model, pictures, labels)
    load(model)
    found["losses"] = [_step(model, number) for number in range(formula.STEPS)]
    found["after"] = {name: formula.summary(v) for name, v in read(model).items()}
    return found


def batch(number: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return pictures (4, 227, 227, 3) and one-hot labels (4, 10)."""
    pictures, labels = formula.batch(number)
    x = tf.constant(pictures.transpose(0, 2, 3, 1).astype(keras.config.floatx()))
    return x, tf.one_hot(labels, formula.CLASSES, dtype=x.dtype)


def _logits(model: keras.Sequential, pictures: tf.Tensor, training: bool) -> tf.Tensor:
    *body, head = model.layers
    for layer in body:
        arguments = {"training": training} if isinstance(layer, layers.BatchNormalization) else {}
        pictures = layer(pictures, **arguments)
    return tf.matmul(pictures, head.kernel) + head.bias


def _gradients(
    model: keras.Sequential, pictures: tf.Tensor, labels: tf.Tensor
) -> tuple[float, dict[str, formula.Summary]]:
    with tf.GradientTape() as tape:
        outputs = model(pictures, training=True)
        loss = model.compute_loss(x=pictures, y=labels, y_pred=outputs)
    trained = {name: v for name, v in variables(model).items() if "running" not in name}
    found = tape.gradient(loss, [v.value for v in trained.values()])
    pairs = zip(trained, found, strict=True)
    return float(loss), {k: formula.summary(to_torch(k, g.numpy())) for k, g in pairs}


def _step(model: keras.Sequential, number: int) -> float:
    model.reset_metrics()  # else the loss returned is a running mean
    return float(model.train_on_batch(*batch(number), return_dict=True)["loss"])


def variables(model: keras.Sequential) -> dict[str, keras.Variable]:
    """Return Keras's variables under the package's names."""
    weighty = [layer for layer in model.layers if layer.weights]
    prefixes = dict.fromkeys(name.split(".")[0] for name in formula.TENSORS)
    return {
        f"{prefix}.{suffix}": variable
        for prefix, layer in zip(prefixes, weighty, strict=True)
        for suffix, variable in zip(SUFFIXES, layer.weights, strict=False)
    }


def load(model: keras.Sequential) -> None:
    """Give every variable its value by the formula."""
    for name, variable in variables(model).items():
        variable.assign(to_keras(name, formula.tensor(name)).astype(variable.dtype))


def read(model: keras.Sequential) -> dict[str, np.ndarray]:
    """Return every variable's value in torch's layout."""
    return {name: to_torch(name, v.numpy()) for name, v in variables(model).items()}


def to_keras(name: str, array: np.ndarray) -> np.ndarray:
    """Convert OIHW to HWIO and (out, in) to (in, out); fc6's inputs to row, column, channel."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if name == "fc6.weight":
        return array.reshape(4096, 256, 6, 6).transpose(2, 3, 1, 0).reshape(9216, 4096)
    return array.T


def to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """Undo ``to_keras``."""
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if name == "fc6.weight":
        return array.reshape(6, 6, 256, 4096).transpose(3, 2, 0, 1).reshape(4096, 9216)
    return array.T
