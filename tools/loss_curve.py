"""Record the golden loss curve of the training of 2012, or compare with the one committed.

    python tools/loss_curve.py --check    recompute and compare with tests/golden/curve-2012.json
    python tools/loss_curve.py --write    recompute and rewrite it

The run itself is ``tests/curve_2012.py``: fifty steps in float32 on one thread, a few seconds. Rewrite
only for a change that is meant to change the mathematics, and say in the commit which.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

TESTS = Path(__file__).resolve().parent.parent / "tests"
GOLDEN = TESTS / "golden" / "curve-2012.json"
sys.path.insert(0, str(TESTS))

import curve_2012  # noqa: E402 (threads and path come first)
import torch  # noqa: E402

# Relative. Kernels of another machine sum in another order; how much rounding grows over fifty steps
# is seen by float64, whose distance is recorded beside it.
TOLERANCE = 1e-4


def apart(ours: list[float], theirs: list[float]) -> float:
    """Return the largest relative difference of two curves."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def write(losses: list[float]) -> None:
    """Rewrite the golden file."""
    content = {
        "made by": "python tools/loss_curve.py --write",
        "torch": torch.__version__,
        "tolerance": TOLERANCE,
        "apart from float64": float(f"{apart(losses, curve_2012.losses(torch.float64)):.1e}"),
        "losses": [float(f"{loss:.9g}") for loss in losses],
    }
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Compute the curve; write it, or say how far it is from the one committed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().write:
        write(curve_2012.losses())
        return 0
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    found = apart(curve_2012.losses(), golden["losses"])
    print(f"{GOLDEN.name}: apart by {found:.1e}, allowed {golden['tolerance']:.0e}")
    return int(found > golden["tolerance"])


if __name__ == "__main__":
    sys.exit(main())
