"""What Keras says of its own conventions: optimisers, batch norm, losses, callbacks, resizing.

Each golden carries its inputs, so that a test needs nothing but the file (and ``formula.draw`` for
the pictures of ``resize``).
"""

from __future__ import annotations

from typing import Any

import formula
import keras
import numpy as np
import tensorflow as tf
from keras_network import adam, both, exact

START = [0.5, -0.25, 0.1, 0.0]


def optimisers() -> dict[str, Any]:
    """Return ten steps of each optimiser, the learning rate divided by ten after the fifth."""
    return both(_optimisers)


def _optimisers() -> dict[str, Any]:
    noise = formula.draw(3000, (10, 4), -1.0, 1.0)
    small = noise * np.float32([1.0, 1e-3, 1e-6, 1e-8])
    momentum, sgd = {"momentum": exact(0.9)}, keras.optimizers.SGD
    return {
        "adam": _descend(adam(), 0.001, small),
        "sgd": _descend(sgd(0.1), 0.1, noise),
        "sgd_momentum": _descend(sgd(0.1, **momentum), 0.1, noise),
        "sgd_nesterov": _descend(sgd(0.1, **momentum, nesterov=True), 0.1, noise),
        "adam_l2": _penalised(noise * np.float32(1e-3)),
        "rmsprop": _descend(_rmsprop(), 0.001, small),
        "rmsprop_centered": _descend(_rmsprop(centered=True), 0.001, small),
    }


def _rmsprop(**how: bool) -> keras.Optimizer:
    return keras.optimizers.RMSprop(0.001, rho=exact(0.9), epsilon=exact(1e-7), **how)


def _start() -> keras.Variable:
    return keras.Variable(np.array(START, keras.config.floatx()))


def _descend(optimiser: keras.Optimizer, lr: float, gradients: Any) -> dict[str, Any]:
    weights, lrs, path = _start(), [lr] * 5 + [lr / 10] * 5, []
    for rate, gradient in zip(lrs, gradients, strict=True):
        optimiser.learning_rate = rate
        optimiser.apply([tf.constant(gradient, weights.dtype)], [weights])
        path.append(weights.numpy().copy())
    return {"start": START, "lrs": lrs, "gradients": gradients, "weights": path}


def _penalised(gradients: Any) -> dict[str, Any]:
    """L2 through the loss: Adam sees the data's gradient plus 2 * c * w."""
    coefficient = 2.0**-7  # a power of two survives the cast that `exact` guards against
    penalty = keras.regularizers.L2(coefficient)
    optimiser, weights = adam(), _start()
    losses, slopes, path = [], [], []
    for gradient in gradients:
        with tf.GradientTape() as tape:
            loss = penalty(weights)
        losses.append(loss)
        slopes.append(tape.gradient(loss, weights.value))
        optimiser.apply([slopes[-1] + tf.constant(gradient, weights.dtype)], [weights])
        path.append(weights.numpy().copy())
    return {
        "coefficient": coefficient,
        "lr": 0.001,
        "start": START,
        "gradients": gradients,
        "penalties": losses,
        "penalty_gradients": slopes,
        "weights": path,
    }


def layers() -> dict[str, Any]:
    """Return batch norm, cross-entropy and the Glorot limits."""
    return both(lambda: {"batch_norm": _batch_norm(), "losses": _losses(), "glorot": _glorot()})


def _batch_norm() -> dict[str, Any]:
    """Two training calls on (4, 3, 5, 5), then one in inference; outputs in N, C, H, W."""
    layer = keras.layers.BatchNormalization(momentum=0.99, epsilon=1e-3)
    layer.build((None, 5, 5, 3))
    gamma, beta = [1.5, 0.5, 1.0], [0.1, -0.2, 0.0]
    layer.set_weights([np.array(v) for v in (gamma, beta, [0.0, 1.0, -1.0], [1.0, 2.0, 0.5])])
    inputs = [formula.draw(seed, (4, 3, 5, 5), -2.0, 3.0) for seed in (3100, 3101, 3102)]
    calls = []
    for x, training in zip(inputs, (True, True, False), strict=True):
        y = layer(tf.constant(x.transpose(0, 2, 3, 1), layer.gamma.dtype), training=training)
        calls.append(
            {
                "seed": 3100 + len(calls),
                "training": training,
                "output": formula.summary(y.numpy().transpose(0, 3, 1, 2)),
                "running_mean": layer.moving_mean.numpy().copy(),
                "running_var": layer.moving_variance.numpy().copy(),
            }
        )
    return {
        "momentum": 0.99,
        "eps": 1e-3,
        "gamma": gamma,
        "beta": beta,
        "running_mean": [0.0, 1.0, -1.0],
        "running_var": [1.0, 2.0, 0.5],
        "input": "formula.draw(seed, (4, 3, 5, 5), -2, 3)",
        "calls": calls,
    }


def _losses() -> dict[str, Any]:
    logits = [[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [30.0, -10.0, 5.0], [-40.0, 40.0, 0.0]]
    labels = [0, 2, 1, 0]  # the last two are sure and wrong
    truth = keras.ops.one_hot(labels, 3, dtype=keras.config.floatx())
    values = keras.ops.convert_to_tensor(logits, dtype=keras.config.floatx())
    # Through NumPy: a plain array forgets that it came from a softmax, so Keras clips at 1e-7.
    probabilities = keras.ops.softmax(values).numpy()
    found: dict[str, Any] = {"logits": logits, "labels": labels, "probabilities": probabilities}
    for smoothing in (0.0, 0.1):
        for kind, outputs in (("logits", values), ("probabilities", probabilities)):
            loss = keras.losses.CategoricalCrossentropy(
                from_logits=kind == "logits", label_smoothing=smoothing, reduction="none"
            )
            found[f"from_{kind}_smoothing_{smoothing}"] = loss(truth, outputs)
    unscaled = np.array([[0.2, 0.1, 0.1]])  # Keras divides by the sum first
    loss = keras.losses.CategoricalCrossentropy(reduction="none")
    found["unscaled"] = {"probabilities": unscaled, "loss": loss(truth[:1], unscaled)}
    return found


def _glorot() -> list[dict[str, Any]]:
    """Draw each layer once; uniform in +-limit, so largest < limit and std = limit / sqrt(3)."""
    found = []
    for name, shape in formula.TENSORS.items():
        if len(shape) > 1:
            kernel = (*shape[2:], shape[1], shape[0])  # HWIO or (in, out)
            drawn = keras.initializers.GlorotUniform(seed=1)(kernel).numpy()
            largest, std = float(np.abs(drawn).max()), float(drawn.std())
            found.append({"name": name, "shape": shape, "largest": largest, "std": std})
    return found


SEQUENCES = {
    "steady": [2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 0.9, 0.8],
    "flat": [1.0] * 16,
    "creep": [1.0 - 0.00004 * k for k in range(16)],  # each gain is below min_delta = 1e-4
    "ties": [1.5, 1.2, 1.2, 1.1, 1.1, 1.1, 1.3, 1.05, 1.05, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.0],
    "worse": [1.0, 1.1, 1.2, 1.3, 0.9, 1.0, 1.1, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3],
    "late": [1.0, 0.9] + [0.95] * 4 + [0.8] + [0.85] * 6 + [0.7] + [0.75] * 12,
    "lab": [1.8678, 1.6250, 1.5000, 1.2293, 1.2686, 1.1591, 1.1100, 1.1838, 1.0067, 0.8563],
}
PLATEAUS = [
    {"factor": 0.1, "patience": 1, "min_lr": 1e-5},
    {"factor": 0.2, "patience": 5},
    {"factor": 0.5, "patience": 2, "cooldown": 3},
    {"factor": 0.5, "patience": 1, "cooldown": 1, "min_lr": 1e-3},
]


class _Stub:
    """The two attributes of a model that these callbacks touch."""

    def __init__(self) -> None:
        self.optimizer = keras.optimizers.SGD(0.01)
        self.stop_training = False


def callbacks() -> dict[str, Any]:
    """Return the learning rate after each epoch, and the epoch (0-based) at which training stops."""
    return {
        "sequences": SEQUENCES,
        "reduce_lr_on_plateau": [
            {"options": o, "start": 0.01, "lrs": {k: _plateau(o, v) for k, v in SEQUENCES.items()}}
            for o in PLATEAUS
        ],
        "early_stopping": [
            {"patience": p, "stopped": {k: _stopped(p, v) for k, v in SEQUENCES.items()}}
            for p in (1, 3, 10)
        ],
    }


def _plateau(options: dict[str, Any], losses: list[float]) -> list[float]:
    model = _Stub()
    callback = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", mode="min", **options)
    callback.set_model(model)
    callback.on_train_begin()
    lrs = []
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        lrs.append(float(f"{float(model.optimizer.learning_rate):.6g}"))  # kept in float32
    return lrs


def _stopped(patience: int, losses: list[float]) -> int | None:
    model = _Stub()
    callback = keras.callbacks.EarlyStopping(monitor="val_loss", mode="min", patience=patience)
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        if model.stop_training:
            return epoch
    return None


RESIZES = [
    ((32, 32), (227, 227), False),
    ((32, 32), (128, 128), False),
    ((375, 500), (256, 341), False),
    ((375, 500), (256, 341), True),
]


def resize() -> dict[str, Any]:
    """Resize ``formula.pixels(seed, *source)`` without rescaling; summaries in N, C, H, W."""
    cases = []
    for number, (source, target, antialias) in enumerate(RESIZES):
        picture = formula.pixels(3200 + number, *source)
        found = tf.image.resize(picture, target, method="bilinear", antialias=antialias)
        entry = {"seed": 3200 + number, "source": source, "target": target, "antialias": antialias}
        cases.append({**entry, "output": formula.summary(found.numpy().transpose(0, 3, 1, 2))})
    return {"picture": "formula.pixels(seed, *source)", "cases": cases}
