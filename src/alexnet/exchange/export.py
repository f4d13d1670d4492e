"""A trained network as one file for programs that do not have this package.

========================  ===============================  ==========================================
file                      takes, gives                     read by
========================  ===============================  ==========================================
``.onnx``                 stored pictures, probabilities   ONNX Runtime
``.pt2``                  the same                         torch alone (``torch.export.load``)
``.safetensors``          weights (``exchange.portable``)  torchvision, any program; ``alexnet.load``
========================  ===============================  ==========================================

A program holds preprocessing, views and softmax as well as the network, so that nothing of them has to
be written again where it runs. A photograph becomes a stored picture before (``pictures.read_square``):
how, and what the classes are called, is told in the file (``about``).
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from alexnet.errors import DataError, UnknownName, UsageError
from alexnet.exchange import portable
from alexnet.run import views as looks
from alexnet.run.classifier import Classifier
from alexnet.run.files import replacing

ABOUT = "about.json"  # its name within a .pt2
NEEDED = ("onnx", "onnxscript")
EXTRA = 'pip install -e ".[onnx]"'
PICTURES, PROBABILITIES = "pictures", "probabilities"
TRIED = 4  # pictures that a written program is tried with
ALIKE = 1e-3  # of probabilities: float32 sums in another order differ by less than 1e-5
Tried = tuple[str, float] | tuple[()]  # a library and the largest difference, or not run
MOST_BYTES = 2_000_000_000  # a protobuf message, which an ONNX file is, ends at 2 GiB


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    ``about``: what it says of itself, as plain strings. ``tried_with``: the library that ran it, its
    version; empty for none. ``difference``: the largest there was between its probabilities and our
    own; None where it was not run.
    """

    path: Path
    about: Mapping[str, str]
    tried_with: str = ""
    difference: float | None = None


class Program(nn.Module):
    """What ``predict`` computes once a picture is read: stored pictures in, probabilities out.

    Input uint8 ``(N, picture_size, picture_size, 3)``, RGB; output float32 ``(N, classes)``.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.network = model.module
        self.preprocessing = model.preprocessing
        self.views = model.views

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the mean over the views of each picture's probabilities."""
        seen = [*looks.seen(pictures, self.preprocessing, self.views)]
        if len({x.shape[2] for x in seen}) == 1:  # one network, not one for each view
            logits = self.network(torch.cat(seen)).unflatten(0, (len(seen), -1)).unbind()
        else:
            logits = [self.network(x) for x in seen]
        return looks.log_mean([each.float().log_softmax(1) for each in logits]).exp()


def export(model: Classifier, path: Path, *, views: str | None = None) -> Exported:
    """Write a model as the kind of file that ``path`` ends in; an earlier one is replaced, whole.

    ``views``: those of ``run.views`` that its answers are the mean over; None: as it was scored. A program is run before it takes its name, by torch or, where it is installed, by ONNX Runtime. Raises
    ``UsageError`` for another ending, a missing library and views that do not fit, ``DataError`` where the file cannot
    be written or does not answer as the model does.
    """
    write = writer_for(path)
    model = seen_by(model, views or model.views)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, path.suffix) as beside:
            tried = write(model, beside)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{path}: cannot be written: {said[0]}; where the disk is not full, another kind of file may do: "
            f"{', '.join(KINDS)}"
        ) from error
    return Exported(path, about(model), *tried)


def seen_by(model: Classifier, views: str) -> Classifier:
    """Return a model that answers by these views. Raises ``UnknownName``, and ``UsageError`` for a misfit."""
    if views not in looks.VIEWS:
        raise UnknownName("views", views, looks.VIEWS)
    if views == "scales":
        looks.refuse_one_size(model.module.network, model.preprocessing.size)
    return replace(model, views=views, described={**model.described, "views": views})


def writer_for(path: Path) -> Callable[[Classifier, Path], Tried]:
    """Return what writes such files. Raises ``UsageError`` for an unknown ending or a missing library."""
    suffix = path.suffix.lower()
    if suffix not in KINDS:
        raise UsageError(
            f"{path}: its name says what to write, and has to end in one of {', '.join(KINDS)}"
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if suffix == ".onnx" and missing:
        raise UsageError(
            f"{path}: {' and '.join(missing)} not installed; {EXTRA} installs what writes ONNX; a .pt2 "
            "needs torch alone"
        )
    return KINDS[suffix]


def about(model: Classifier) -> dict[str, str]:
    """Return what a file says of itself: a photograph's way to it, and what its outputs mean."""
    how = model.preprocessing
    return {
        "network": model.module.network.name,
        "classes": json.dumps(list(model.classes), ensure_ascii=False),
        "picture_size": str(how.picture_size),
        "fit": how.square_fit,
        "views": model.views,
        "named_as": "torchvision" if portable.is_torchvisions(model) else "alexnet",  # its tensors
    }


def _write_pt2(model: Classifier, path: Path) -> Tried:
    ours, pictures = _answers(model)
    told = {ABOUT: json.dumps(about(model), ensure_ascii=False)}
    with _silent(), torch.no_grad():
        program = torch.export.export(Program(model), (pictures,), dynamic_shapes=_any_number())
        torch.export.save(program, path, extra_files=told)
        theirs = torch.export.load(path).module()(pictures)
    return f"torch {torch.__version__}", _alike(ours, theirs)


def _write_onnx(model: Classifier, path: Path) -> Tried:
    ours, pictures = _answers(model)
    write_onnx(Program(model), pictures, path, output=PROBABILITIES, told=about(model))
    if importlib.util.find_spec("onnxruntime") is None:
        return ()
    import onnxruntime

    return f"ONNX Runtime {onnxruntime.__version__}", _alike(ours, _by_onnxruntime(path, pictures))


def _by_onnxruntime(path: Path, pictures: Tensor) -> Tensor:
    """Return an ONNX file's answers. Raises ``DataError`` where ONNX Runtime cannot run it."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (theirs,) = session.run(None, {PICTURES: pictures.numpy()})
    except Exception as error:  # it has exceptions of its own for all that may be wrong
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"ONNX Runtime cannot run the exported network, and nothing was written ({said[0]}); a .pt2 "
            "may do"
        ) from None
    return torch.from_numpy(theirs)


def _write_weights(model: Classifier, path: Path) -> Tried:
    portable.write(model, path)
    return ()


KINDS: dict[str, Callable[[Classifier, Path], Tried]] = {
    ".onnx": _write_onnx,
    ".pt2": _write_pt2,
    ".safetensors": _write_weights,
}


def write_onnx(
    module: nn.Module,
    pictures: Tensor,
    path: Path,
    *,
    output: str,
    told: Mapping[str, str] | None = None,
) -> None:
    """Write a module in evaluation mode as ONNX, for batches of any size; its input is ``pictures``.

    ``pictures``: an example of at least two. ``told``: what its metadata say. Raises ``UsageError``
    for more weights than one ONNX file holds, and what torch raises where it cannot export.
    """
    held = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    if held > MOST_BYTES:
        raise UsageError(
            f"{path}: the network has {held:,} bytes of weights, an ONNX file holds {MOST_BYTES:,}; "
            "write a .pt2 instead"
        )
    with _silent(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (pictures,),
            dynamo=True,
            verbose=False,
            input_names=[PICTURES],
            output_names=[output],
            dynamic_shapes=_any_number(),
        )
        assert program is not None
        program.model.metadata_props.update(told or {})
        program.save(path, external_data=False)


def _any_number() -> dict[str, dict[int, torch.export.Dim]]:
    return {PICTURES: {0: torch.export.Dim("batch", min=1, max=4096)}}


@torch.inference_mode()
def _answers(model: Classifier) -> tuple[Tensor, Tensor]:
    """Return our own probabilities of some noise, and the noise.

    Computed before anything is traced: what the preprocessing remembers must be real numbers.
    """
    side = model.preprocessing.picture_size
    dice = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (TRIED, side, side, 3), dtype=torch.uint8, generator=dice)
    return Program(model).cpu()(pictures), pictures.clone()


def _alike(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference. Raises ``DataError`` where it is none of rounding."""
    difference = float((ours - theirs).abs().max())
    if not difference <= ALIKE:
        raise DataError(
            f"the exported program's probabilities differ from the model's by up to {difference:.3g}, more "
            f"than rounding ({ALIKE}); nothing was written. Another kind of file may do: {', '.join(KINDS)}"
        )
    return difference


@contextmanager
def _silent() -> Iterator[None]:
    """Keep back what the exporter tells of every library and every fold that it did without."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
