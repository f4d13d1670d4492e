"""What would be done on which device: a pure function, so every device can be asked about here."""

from __future__ import annotations

import contextlib

import pytest
import torch

from alexnet.errors import UnknownName, UsageError
from alexnet.models import kernels
from alexnet.models.layers import Conv2d
from alexnet.run import computing
from alexnet.run.computing import Computing, plan, plan_here
from alexnet.run.device import Device

GB = 1 << 30
PLACE = {"data_bytes": GB, "compiled": False, "static": True, "alone": True}


def of(kind, precision="bf16", **changes):
    known = {"data_bytes": GB, "free_bytes": None, "compiled": False, "static": True}
    known |= {"alone": True, "bf16_units": True}
    return plan(Device(torch.device(kind), precision), **known | changes)


def test_a_gpu_with_room_holds_the_pictures():
    assert of("cuda", free_bytes=80 * GB, compiled=True) == Computing(
        resident=True,
        copies="none",
        read_every=32,
        weights="masters",
        compile="default",
        tf32=True,
        cudnn_benchmark=True,
        graph=True,
    )


def test_a_gpu_without_room_is_sent_them_from_pinned_memory():
    assert of("cuda", free_bytes=4 * GB).resident
    found = of("cuda", free_bytes=4 * GB - 1)
    assert (found.resident, found.copies) == (False, "pinned")


def test_the_way_of_updating_is_that_of_weights_beside_masters():
    assert of("cuda", update="one pass").update == "one pass"
    assert of("cuda", update="torch (triton is not installed)").update.endswith("installed)")
    assert of("cuda", "float32", update="one pass").update == "torch"
    assert of("cuda", alone=False, update="one pass").update == "torch"
    assert of("cuda").update == "torch"


def test_batches_of_several_shapes_are_no_cuda_graph():
    assert not of("cuda", free_bytes=GB, static=False).graph
    assert not of(
        "cuda", free_bytes=GB, alone=False
    ).graph  # ranks wait for each other within a step
    assert of("cuda", free_bytes=GB).graph
    assert not of("cuda", free_bytes=GB, graph=False).graph
    assert not of("cpu").graph


def test_masks_are_drawn_ahead_of_what_is_compiled_or_replayed():
    assert of("cuda", free_bytes=GB).drawn_ahead
    assert of("cpu", compiled=True).drawn_ahead
    assert not of("cpu").drawn_ahead
    assert not of("cuda", free_bytes=GB, graph=False).drawn_ahead


def test_a_gpu_runs_fused_what_torch_does_not_compile(monkeypatch):
    told = []
    monkeypatch.setattr(
        computing.fused, "use", lambda model, device, dtype: told.append((device.type, dtype))
    )
    assert computing.settle_fused(None, Device(torch.device("cuda"), "bf16")) == "one pass"
    assert computing.settle_fused(None, Device(torch.device("cpu"), "float32")) == "apart"
    compiled = computing.settle_fused(None, Device(torch.device("cuda"), "bf16"), compiled=True)
    assert (compiled, told) == ("apart", [("cuda", torch.bfloat16)])


def test_a_gpu_without_triton_says_so(monkeypatch):
    def use(model, device, dtype):
        raise computing.fused.Unavailable("triton is not installed")

    monkeypatch.setattr(computing.fused, "use", use)
    found = computing.settle_fused(None, Device(torch.device("cuda"), "bf16"))
    assert found == "apart (triton is not installed)"


def test_a_cpu_reads_from_its_map_and_changes_nothing():
    assert of("cpu", "float32", compiled=True) == Computing(
        resident=False,
        copies="none",
        read_every=1,
        weights="float32",
        compile="default",
        tf32=False,
        cudnn_benchmark=False,
    )


def test_mps_shares_its_memory_with_the_processor():
    assert of("mps", "float32", free_bytes=8 * GB).resident
    assert of("mps", "float32", free_bytes=GB).copies == "plain"


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, "masters"),
        ({"bf16_units": False}, "autocast"),  # emulated: nothing is gained
        ({"alone": False}, "autocast"),  # gradients are averaged over processes in float32
        ({"precision": "float32"}, "float32"),
    ],
)
def test_bf16_weights_where_one_process_has_units_for_them(changes, weights):
    assert of("cpu", **changes).weights == weights


def test_float32_asked_for_is_not_tf32():
    assert not of("cuda", "float32", free_bytes=GB).tf32
    asked = of("cuda", "tf32", free_bytes=GB)
    assert (asked.tf32, asked.weights, asked.update) == (True, "float32", "torch")


def test_this_machine_is_asked_for_its_memory_and_units(monkeypatch):
    monkeypatch.setattr(computing, "fast_bf16", lambda device: True)
    monkeypatch.setattr(computing, "free_own_memory", lambda device: 4 * GB)
    cuda = Device(torch.device("cuda"), "bf16")
    found = plan_here(cuda, **PLACE)
    assert (found.resident, found.weights) == (True, "masters")


def test_a_cpu_has_no_memory_of_its_own():
    assert computing.free_own_memory(torch.device("cpu")) is None


def test_torch_is_told(monkeypatch):
    for name in ("allow_tf32", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    before = torch.get_float32_matmul_precision()
    try:
        of("cuda", free_bytes=GB).settle()
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.benchmark
        of("cpu", "float32").settle()
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_record_is_plain():
    assert of("cuda", free_bytes=GB).to_json()["weights"] == "masters"


# --- how convolutions are computed ---------------------------------------------------------------

CPU = Device(torch.device("cpu"), "float32")


def convolutions(device=CPU, **how):
    layer = Conv2d(32, 32, 3, padding=1)
    return computing.settle_convolutions(layer, device, **how), layer.minimal


def without_a_compiler(model):
    raise kernels.Unavailable("no C++ compiler on this machine")


def test_float32_on_a_cpu_takes_fewer_multiplications(monkeypatch):
    monkeypatch.setattr(kernels, "use", lambda model: setattr(model, "minimal", True))
    assert convolutions() == ("winograd", True)
    assert convolutions(asked="direct") == ("direct", False)
    assert convolutions(compiled=True) == ("direct", False)
    monkeypatch.setattr(computing, "bf16_by_vectors", lambda _: False)
    assert convolutions(Device(CPU.torch, "bf16")) == ("direct", False)
    monkeypatch.setattr(computing, "bf16_by_vectors", lambda _: True)
    assert convolutions(Device(CPU.torch, "bf16")) == ("winograd", True)
    assert convolutions(Device(torch.device("cuda"), "float32")) == ("direct", False)


def test_a_model_is_given_back_as_it_was(monkeypatch):
    monkeypatch.setattr(kernels, "use", lambda model: setattr(model, "minimal", True))
    layer = Conv2d(32, 32, 3)
    with computing.as_in_training(layer, CPU):
        assert layer.minimal
    assert not layer.minimal


def test_the_record_says_why_it_could_not(monkeypatch):
    monkeypatch.setattr(kernels, "use", without_a_compiler)
    assert convolutions() == ("direct (no C++ compiler on this machine)", False)
    found = plan_here(CPU, **PLACE, convolutions=convolutions()[0])
    assert found.to_json()["convolutions"] == "direct (no C++ compiler on this machine)"


def test_an_unknown_kind_is_named():
    with pytest.raises(UnknownName, match=r"'fft'.*auto, direct, winograd"):
        convolutions(asked="fft")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({}, "no C\\+\\+ compiler"),
        ({"compiled": True}, "compile = true"),
        ({"device": Device(CPU.torch, "bf16")}, "this is bf16 on cpu"),
    ],
    ids=["compiler", "compiled", "bf16"],
)
def test_what_is_asked_for_by_name_is_had_or_refused(monkeypatch, how, reason):
    monkeypatch.setattr(computing, "bf16_by_vectors", lambda _: False)
    monkeypatch.setattr(kernels, "use", without_a_compiler)
    with pytest.raises(UsageError, match=reason):
        convolutions(asked="winograd", **how)


def test_a_network_is_lent_and_given_back():
    module = torch.nn.Linear(2, 2).eval()
    went = []
    module.to = lambda where: went.append(str(where))  # type: ignore[method-assign, assignment]
    cuda = Device(torch.device("cuda"), "float32")
    ways = computing.lent(module, cuda), computing.evaluating(module.train())
    with contextlib.suppress(KeyError), ways[0], ways[1]:
        assert not module.training
        raise KeyError
    assert went == ["cuda", "cpu"]
    assert module.training
