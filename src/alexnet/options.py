"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Root = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where data sets are kept. [env: ALEXNET_DATA]"),
]
