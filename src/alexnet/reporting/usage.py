"""What a person reads of an exported model: what is in the file, and a program that uses it."""

from __future__ import annotations

import json
from typing import Any

from alexnet.exchange.export import PICTURES, PROBABILITIES, Exported

_CROP = """\
short = min(picture.size)
width, height = (side * length // short for length in picture.size)
left, top = round((width - side) / 2), round((height - side) / 2)
square = picture.resize((width, height), Image.Resampling.BILINEAR)
square = square.crop((left, top, left + side, top + side))"""
_STRETCH = "square = picture.resize((side, side), Image.Resampling.BILINEAR)"
_READ = """\
side = int(about["picture_size"])
picture = ImageOps.exif_transpose(Image.open("cat.jpg"))
if picture.has_transparency_data:
    white = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(white, picture.convert("RGBA"))
picture = picture.convert("RGB")
{square}
pictures = np.array(square)[None]  # uint8 (1, {side}, {side}, 3)"""
_SAY = 'print(json.loads(about["classes"])[probabilities.argmax()], float(probabilities.max()))'
_ONNX = """\
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession({path})
about = session.get_modelmeta().custom_metadata_map
{read}
probabilities = session.run(None, {{"{takes}": pictures}})[0][0]
{say}"""
_PT2 = """\
import json
import numpy as np
import torch
from PIL import Image, ImageOps

told = {{"about.json": ""}}
program = torch.export.load({path}, extra_files=told).module()
about = json.loads(told["about.json"])
{read}
with torch.inference_mode():
    probabilities = program(torch.from_numpy(pictures))[0]
{say}"""
_WEIGHTS = """\
import alexnet
print(alexnet.predict({path}, "cat.jpg")[0])"""
_TORCHVISION = """

or, with torchvision, for pictures prepared as for its weights:

import torchvision
from safetensors.torch import load_file
network = torchvision.models.alexnet(num_classes={classes})
network.load_state_dict(load_file({path}))"""


def text(exported: Exported) -> str:
    """Write what the file holds, how it was tried, and a program in Python that uses it."""
    about, path = exported.about, exported.path
    classes = len(json.loads(about["classes"]))
    megabytes = path.stat().st_size / 1e6
    lines = [f"wrote {path}, {megabytes:.1f} MB: {about['network']}, {classes:,} classes"]
    if path.suffix.lower() != ".safetensors":
        side = about["picture_size"]
        lines += [
            f"takes  {PICTURES:<13}  uint8 (N, {side}, {side}, 3), RGB",
            f"gives  {PROBABILITIES:<13}  float32 (N, {classes}), over the views {about['views']!r}",
            _tried(exported),
        ]
    return "\n".join([*lines, "", program(exported)])


def values(exported: Exported) -> dict[str, Any]:
    """Return the same as plain values."""
    about = {**exported.about, "classes": json.loads(exported.about["classes"])}
    tried = {"tried_with": exported.tried_with or None, "difference": exported.difference}
    return {"path": str(exported.path), "bytes": exported.path.stat().st_size, **about, **tried}


def _tried(exported: Exported) -> str:
    if exported.difference is None:
        return "not tried: onnxruntime is not installed"
    return (
        f"tried with {exported.tried_with}: probabilities differ from the model's by at most "
        f"{exported.difference:.1e}"
    )


def program(exported: Exported) -> str:
    """Return a program in Python that names what is in ``cat.jpg`` by the exported file."""
    about, path = exported.about, repr(str(exported.path))
    square = _STRETCH if about["fit"] == "stretch" else _CROP
    kind = exported.path.suffix.lower()
    if kind == ".safetensors":
        classes = len(json.loads(about["classes"]))
        theirs = about["named_as"] == "torchvision"
        also = _TORCHVISION.format(path=path, classes=classes) if theirs else ""
        return _WEIGHTS.format(path=path) + also
    read = _READ.format(square=square, side=about["picture_size"])
    whole = _ONNX if kind == ".onnx" else _PT2
    return whole.format(path=path, read=read, say=_SAY, takes=PICTURES)
