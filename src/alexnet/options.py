"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from alexnet.calling import Option

Json = Annotated[bool, Option("--json", help="Print JSON instead of text.")]
DeviceName = Annotated[str, Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Root = Annotated[
    Path | None,
    Option("--data", metavar="DIR", help="Where data sets are kept. [env: ALEXNET_DATA]"),
]
