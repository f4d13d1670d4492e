"""Ask Keras for the numbers that the package must reproduce, or check the ones committed.

    python tools/keras_golden.py --check    recompute and compare with tests/golden/*.json
    python tools/keras_golden.py --write    recompute and rewrite them

Needs TensorFlow, Keras 3 and OpenCV, in an environment of their own (``make parity``); the package itself
is not imported, so that the two implementations stay strangers. About one minute and 4 GB of
memory, most of it for ``keras-network`` in float64.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # plain kernels: the same numbers everywhere

TESTS = Path(__file__).resolve().parent.parent / "tests"
GOLDEN = TESTS / "golden"
sys.path[:0] = [str(TESTS / "parity"), str(Path(__file__).resolve().parent)]

DIGITS = {"float32": 9, "float64": 17}
# Allowed difference, relative to the largest number of the same list. In float32 the network's
# gradients jump where a ReLU or a maximum changes side on the last bit, and Adam turns the sign of
# a tiny gradient into a whole step: from two threads to one, Keras differs from itself by 1.6e-2
# after five steps; in float64, which settles the semantics, by 4e-13.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float32 network": 0.2}
JUMPY = ("/float32/gradients/", "/float32/losses", "/float32/after/")


def tidy(value: Any, digits: int) -> Any:
    """Turn arrays and tensors into lists, and round floats to ``digits`` significant digits."""
    if isinstance(value, dict):
        return {key: tidy(v, DIGITS.get(key, digits)) for key, v in value.items()}
    if isinstance(value, str | int | bool) or value is None:
        return value
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, list | tuple):
        return [tidy(v, digits) for v in value]
    array = value.numpy() if hasattr(value, "numpy") else value
    return tidy(array.tolist(), digits)


def goldens() -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what to make: file name -> maker. Imports TensorFlow."""
    import keras_fit
    import keras_network
    import keras_semantics

    return {
        "keras-summary": keras_network.summary,
        "keras-network": keras_network.network,
        "keras-optimisers": keras_semantics.optimisers,
        "keras-layers": keras_semantics.layers,
        "keras-callbacks": keras_semantics.callbacks,
        "keras-resize": keras_semantics.resize,
        "keras-losses": keras_fit.losses,
        "keras-restored": keras_fit.restored,
        "opencv-resize": keras_fit.resize,
    }


def made_with() -> dict[str, str]:
    import keras
    import numpy as np
    import tensorflow as tf

    return {"keras": keras.__version__, "numpy": np.__version__, "tensorflow": tf.__version__}


def dump(golden: dict[str, Any]) -> str:
    """Write JSON with one line for each innermost list or object."""
    return "".join(_dump(golden, "")) + "\n"


def _dump(value: Any, indent: str) -> Iterator[str]:
    flat = json.dumps(value)
    nested = isinstance(value, dict | list) and any(
        isinstance(v, dict | list) for v in _items(value)
    )
    if (not nested and len(flat) < 400) or len(flat) < 90:
        yield flat
        return
    inner, is_dict = indent + " ", isinstance(value, dict)
    yield "{\n" if is_dict else "[\n"
    entries = value.items() if is_dict else enumerate(value)
    for i, (key, item) in enumerate(entries):
        yield (",\n" if i else "") + inner + (f"{json.dumps(key)}: " if is_dict else "")
        yield from _dump(item, inner)
    yield f"\n{indent}" + ("}" if is_dict else "]")


def _items(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield (where, difference relative to the largest number of that list) for two goldens."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        if "norm" in old:  # a summary: its sum may cancel, so the norm is the scale of both
            old, new = _scaled(old), _scaled(new)
        for key in old:
            yield from differences(old[key], new[key], f"{path}/{key}")
    elif _is_numbers(old) and _is_numbers(new) and len(old) == len(new):
        scale = max((abs(v) for v in old), default=0.0) or 1.0
        yield path, max((abs(a - b) for a, b in zip(old, new, strict=True)), default=0.0) / scale
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{path}/{i}")
    elif _is_number(old) and _is_number(new):
        yield from differences([old], [new], path)
    elif old != new:
        yield f"{path}: {str(old)[:60]!r} became {str(new)[:60]!r}", float("inf")


def _scaled(summary: dict[str, Any]) -> dict[str, Any]:
    return {"sums": [summary["norm"], summary["scaled_sum"]], "values": summary["values"]}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_is_number(v) for v in value)


def check(name: str, new: dict[str, Any]) -> bool:
    """Compare a fresh golden with the committed one; print the worst difference."""
    old = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    old.pop("made_with"), new.pop("made_with")
    worst: dict[str, tuple[float, str]] = {}
    for where, size in differences(old, new):
        kind = _kind(name, where)
        worst[kind] = max(worst.get(kind, (0.0, "")), (size, where))
    for kind, (size, where) in sorted(worst.items()):
        verdict = "ok" if size <= TOLERANCE[kind] else "DIFFERS"
        print(f"{name:17} {kind:15} largest relative difference {size:.1e} {verdict}  {where}")
    return all(size <= TOLERANCE[kind] for kind, (size, _) in worst.items())


def _kind(name: str, where: str) -> str:
    if name == "keras-network" and where.startswith(JUMPY):
        return "float32 network"
    return "float64" if where.startswith("/float64/") else "float32"


def main() -> int:
    """Return the exit status: 1 when a committed golden no longer holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="compare with the committed goldens")
    what.add_argument("--write", action="store_true", help="rewrite the committed goldens")
    parser.add_argument("names", nargs="*", help="which goldens (default: all)")
    options = parser.parse_args()
    makers = goldens()
    if unknown := set(options.names) - makers.keys():
        parser.error(
            f"no golden called {', '.join(sorted(unknown))}; there are {', '.join(makers)}"
        )
    agreed = True
    for name in options.names or makers:
        fresh = {"made_with": made_with(), **tidy(makers[name](), DIGITS["float64"])}
        if options.write:
            (GOLDEN / f"{name}.json").write_text(dump(fresh), encoding="utf-8", newline="\n")
            print(f"wrote {name}.json")
        else:
            agreed &= check(name, fresh)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
