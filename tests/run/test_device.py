"""Which device, which precision: nothing falls back quietly, everything is said."""

from __future__ import annotations

import platform

import pytest
import torch

from alexnet import limits
from alexnet.errors import UsageError
from alexnet.run import device


@pytest.fixture
def cpu_only(monkeypatch):
    monkeypatch.setattr(device, "available", lambda: ["cpu"])


@pytest.fixture
def as_told(monkeypatch):
    """Have torch forget afterwards what it was told for the whole process."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    "name", ["cuda", "cuda:0", "mps", "tpu", "gpu", "", "cpu0", "auto:1", "CPU"]
)
def test_a_device_that_is_not_here_is_refused_by_name(cpu_only, name):
    with pytest.raises(UsageError, match=r"is not on this machine; available: cpu") as found:
        device.choose(name)
    assert repr(name) in str(found.value)
    assert found.value.exit_code == 2


@pytest.mark.parametrize("name", ["cpu:x", "cpu:", "cpu:1:2"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(UsageError, match=r"is not a device name; e\.g\. cpu, cuda"):
        device.choose(name)


def test_a_cuda_device_too_many_is_refused(monkeypatch, as_told):
    monkeypatch.setattr(device, "available", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda at: (9, 0))
    monkeypatch.setattr(torch.cuda, "set_device", lambda at: None)
    assert device.choose("cuda:1") == device.Device(torch.device("cuda:1"), "bf16")
    with pytest.raises(UsageError, match=r"'cuda:2': this machine has 2 of them"):
        device.choose("cuda:2")


def test_a_cuda_device_by_number_becomes_the_current_one(monkeypatch, as_told):
    told = []
    monkeypatch.setattr(device, "available", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", told.append)
    for name in ("cuda", "cpu:0", "cuda:1"):
        device.choose(name, "float32")
    assert told == [torch.device("cuda:1")]


def test_float32_is_multiplied_as_was_chosen(monkeypatch, as_told):
    monkeypatch.setattr(device, "available", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda at: (9, 0))
    for precision, tf32 in (("bf16", True), ("float32", False), ("tf32", True)):
        device.choose("cuda", precision)
        assert torch.backends.cudnn.allow_tf32 is tf32
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    device.choose("cpu", "bf16")
    assert not torch.backends.cudnn.allow_tf32


def test_auto_takes_the_best_there_is(monkeypatch, as_told):
    monkeypatch.setattr(device, "available", lambda: ["mps", "cpu"])
    assert device.choose("auto").torch.type == "mps"
    monkeypatch.setattr(device, "available", lambda: ["cpu"])
    assert device.choose("auto").torch == torch.device("cpu")


def test_the_cpu_is_always_there():
    assert device.available()[-1] == "cpu"
    assert device.choose("cpu", "float32") == device.Device(torch.device("cpu"), "float32")


@pytest.mark.parametrize("flag", ["amx_bf16", "avx512_bf16", "arm_bf16", "bf16", None])
def test_auto_precision_follows_the_hardware(cpu_only, monkeypatch, flag):
    flags = {"avx2": True, "amx_bf16": False} | ({flag: True} if flag else {})
    monkeypatch.setattr(device, "_cpu_capabilities", lambda: flags)
    assert device.choose("cpu").precision == ("bf16" if flag else "float32")
    assert device.choose("cpu", "float32").precision == "float32"
    assert device.choose("cpu", "bf16").precision == "bf16"


@pytest.mark.parametrize(
    ("flags", "kind", "found"),
    [
        ({"avx512_bf16": True}, "cpu", True),
        ({"avx512_bf16": True, "amx_bf16": True}, "cpu", False),
        ({"avx2": True}, "cpu", False),
        ({"avx512_bf16": True}, "cuda", False),
    ],
)
def test_bf16_in_vectors_is_bf16_without_tiles(monkeypatch, flags, kind, found):
    monkeypatch.setattr(device, "_cpu_capabilities", lambda: flags)
    assert device.bf16_by_vectors(torch.device(kind)) is found


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bf16_on_cuda_from_ampere_on(monkeypatch, capability, fast):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda at: capability)
    assert device.fast_bf16(torch.device("cuda")) is fast


@pytest.mark.parametrize(("capability", "there"), [((7, 5), False), ((8, 0), True)])
def test_tf32_on_cuda_from_ampere_on_and_nowhere_else(monkeypatch, as_told, capability, there):
    monkeypatch.setattr(device, "available", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda at: capability)
    if there:
        assert device.choose("cuda", "tf32").precision == "tf32"
    else:
        with pytest.raises(UsageError, match="use bf16 or float32"):
            device.choose("cuda", "tf32")
    with pytest.raises(UsageError, match="'tf32' on cpu"):
        device.choose("cpu", "tf32")


def test_autocast_computes_in_the_precision():
    a = torch.ones(2, 2)
    every = (("float32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16))
    for precision, dtype in every:
        with device.Device(torch.device("cpu"), precision).autocast():
            assert (a @ a).dtype is dtype


def test_matrix_rate_is_two_n_cubed_over_the_median_second(monkeypatch):
    chosen = device.Device(torch.device("cpu"), "float32")
    assert chosen.matrix_rate(64, rounds=3) > 1e6
    ticks = iter([0, 9, 10, 11, 20, 24, 30, 32])  # the warm-up 9 s, then 1, 4 and 2 s
    monkeypatch.setattr(device.time, "perf_counter", lambda: next(ticks))
    assert chosen.matrix_rate(8, rounds=3) == 2 * 8**3 / 2


def test_keep_pages_says_whether_it_could(monkeypatch):
    assert device.keep_pages() is (platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert device.keep_pages() is False


def test_prepare_process_flushes_denormals():
    tiny = torch.tensor([1e-40])
    assert float(tiny * 0.5) > 0
    device.prepare_process()
    assert float(tiny * 0.5) == 0


@pytest.mark.parametrize(
    ("cores", "variable", "told"), [(2, None, [2]), (4, None, []), (9, None, []), (2, "4", [])]
)
def test_a_quota_of_cores_lowers_the_threads_unless_they_are_set(
    monkeypatch, cores, variable, told
):
    asked = []
    monkeypatch.setattr(limits, "cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    device.prepare_process()
    assert asked == told


def test_environment_says_where_a_figure_was_measured():
    found = device.environment(device.Device(torch.device("cpu"), "bf16"))
    assert list(found) == [
        "hardware",
        "device",
        "precision",
        "threads",
        "system",
        "python",
        "packages",
    ]
    assert (found["device"], found["precision"]) == ("cpu", "bf16")
    assert found["threads"] == torch.get_num_threads() == 1
    assert found["packages"]["torch"] == torch.__version__
    assert found["packages"].keys() == set(device.PACKAGES)
    assert "cores" in found["hardware"]


def test_a_package_that_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(device, "PACKAGES", ("no-such-package",))
    found = device.environment(device.Device(torch.device("cpu"), "bf16"))
    assert found["packages"] == {"no-such-package": "not installed"}


def test_describe_names_device_and_precision():
    text = device.Device(torch.device("cpu"), "float32").describe()
    assert text.startswith("cpu (")
    assert text.endswith(", float32")


def test_peak_memory_is_in_bytes():
    assert 10e6 < device.peak_memory() < 1e12  # torch alone takes tens of megabytes
