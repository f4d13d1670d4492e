"""Triton's kernels without a GPU, in its interpreter: tests/conftest.py asks for it; on one: tools/check_gpu.py.

The interpreter of triton 3.6 cuts bits off where a GPU rounds float32 to the nearest bf16, and counts to no
number that is an argument where NumPy is new; both are mended here.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch


def needs_triton() -> None:
    """Skip the module that calls this where triton is not installed or would compile for a GPU."""
    pytest.importorskip("triton", reason="triton, of the extra kernels, is not installed")
    if os.environ["TRITON_INTERPRET"] != "1":
        said = "TRITON_INTERPRET is not 1: these tests' tensors lie where no GPU reads them"
        pytest.skip(said, allow_module_level=True)
    _mend_rounding()
    _mend_counting()


def _mend_counting() -> None:
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor, scope):
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    patched.mended = True
    if not hasattr(patch, "mended"):
        interpreter._patch_lang_tensor = patched


def _mend_rounding() -> None:
    from triton import language
    from triton.runtime import interpreter

    cut = interpreter._convert_float

    def nearest(values, of, to, mode):
        if (of, to) != (language.float32, language.bfloat16):
            return cut(values, of, to, mode)
        rounded = torch.from_numpy(np.array(values, dtype=np.float32)).bfloat16()
        return rounded.view(torch.int16).numpy().view(np.uint16)

    nearest.mended = True
    if not hasattr(cut, "mended"):
        interpreter._convert_float = nearest
