"""GPUs through NVML: every refusal of the library is `n/a`, and nothing here ever raises.

No GPU is needed: single functions of the real pynvml are replaced, so that its own errors are the ones met.
"""

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pynvml
import pytest

from psi_tui.runs import gpu
from psi_tui.runs.gpu import Gpu, device_choices, gpu_line, read_gpus, visible_gpus

GB = 10**9
NAMES = ["NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB", "Tesla V100-SXM2-16GB", "NVIDIA GeForce RTX 4090"]
CALLS = (
    "nvmlInit",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetMemoryInfo",
)
ERRORS = sorted(pynvml.NVMLError._valClassMapping.items())


@pytest.fixture(autouse=True)
def fresh_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu.nvml.cache_clear()
    yield
    gpu.nvml.cache_clear()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts GPUs into the machine: NVML's functions answer as with a driver."""

    def answer(**answers: object) -> None:
        for name, function in answers.items():
            monkeypatch.setattr(pynvml, name, function)

    answer(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(NAMES),
        nvmlDeviceGetHandleByIndex=lambda index: index + 100,
        nvmlDeviceGetName=lambda handle: NAMES[handle - 100],
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}a-0",
        nvmlDeviceGetMigMode=lambda handle: [0, 0],
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=87, memory=40),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(
            used=int(12.34 * GB), total=85 * GB + GB // 2, free=73 * GB
        ),
    )
    return answer


def refuse(error: type[Exception]) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise error

    return call


def test_a_machine_as_it_is_never_raises():
    gpus = read_gpus()
    assert all(isinstance(one, Gpu) for one in gpus)
    assert [value for _, value in device_choices()][:2] == ["auto", "cpu"]


def test_importing_costs_no_library():
    source = "import sys, psi_tui.runs.gpu; print([name for name in ('pynvml', 'torch') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_gpus_are_read(machine):
    gpus = read_gpus()
    assert [one.name for one in gpus] == ["H100", "A100-SXM4", "V100-SXM2", "GeForce RTX 4090"]
    assert gpus[0] == Gpu(0, "H100", 87, int(12.34 * GB), 85 * GB + GB // 2, "GPU-100a-0")
    assert gpu_line(gpus[0]) == "GPU 0 H100: 87 %, 12.3 of 85.5 GB"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("code", "error"), ERRORS, ids=[error.__name__ for _, error in ERRORS])
def test_no_refusal_of_any_function_raises(machine, call, code, error):
    machine(**{call: refuse(error)})
    gpus = read_gpus()
    lines = [gpu_line(one) for one in gpus]
    if call in ("nvmlInit", "nvmlDeviceGetCount"):
        assert (gpus, device_choices()[2:]) == ((), [])
    else:
        assert len(lines) == len(NAMES) == len(device_choices()) - 2
    if call in ("nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo"):
        assert all("n/a" in line for line in lines)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("nvmlDeviceGetHandleByIndex", "GPU 0: n/a"),
        ("nvmlDeviceGetName", "GPU 0: 87 %, 12.3 of 85.5 GB"),
        ("nvmlDeviceGetUtilizationRates", "GPU 0 H100: n/a, 12.3 of 85.5 GB"),
        ("nvmlDeviceGetMemoryInfo", "GPU 0 H100: 87 %, n/a"),
    ],
)
def test_only_what_is_refused_is_not_known(machine, call, line):
    machine(**{call: refuse(pynvml.NVMLError_NotSupported)})
    assert gpu_line(read_gpus()[0]) == line


def test_one_lost_gpu_hides_no_other(machine):
    def handle(index: int) -> int:
        if index == 1:
            raise pynvml.NVMLError_GpuIsLost
        return index + 100

    machine(nvmlDeviceGetHandleByIndex=handle)
    assert [one.name for one in read_gpus()] == ["H100", None, "V100-SXM2", "GeForce RTX 4090"]


def test_the_whole_device_says_nothing_of_a_mig_slice(machine):
    machine(nvmlDeviceGetMigMode=lambda handle: [pynvml.NVML_DEVICE_MIG_ENABLE, 1])
    assert gpu_line(read_gpus()[0]) == "GPU 0 H100 MIG: n/a"
    assert device_choices()[2] == ("cuda:0  H100 MIG, n/a free", "cuda:0")


def test_the_library_is_initialized_once_and_a_missing_driver_is_not_asked_again(machine):
    for outcome in (None, pynvml.NVMLError_DriverNotLoaded):
        calls = []

        def start(calls=calls, outcome=outcome):
            calls.append(1)
            if outcome:
                raise outcome

        machine(nvmlInit=start)
        gpu.nvml.cache_clear()
        assert read_gpus() == read_gpus()
        assert len(calls) == 1


def test_units_stand_once_where_they_are_alike():
    assert gpu_line(Gpu(1, "T4", 0, 5 * 10**8, 16 * GB)) == "GPU 1 T4: 0 %, 500 MB of 16 GB"
    assert gpu_line(Gpu(1, None, 0, 0, 16 * GB)) == "GPU 1: 0 %, 0 B of 16 GB"


def test_the_form_is_given_every_device_with_its_free_memory(machine):
    assert [value for _, value in device_choices()] == ["auto", "cpu", "cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert device_choices()[2] == ("cuda:0  H100, 73.2 of 85.5 GB free", "cuda:0")


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ("", []),
        ("-1", []),
        ("2", [2]),
        ("3, 0", [3, 0]),
        ("1,9,0", [1]),
        ("GPU-102a,GPU-100a-0", [2, 0]),
        ("GPU-999", []),
        ("nonsense", []),
    ],
)
def test_cuda_numbers_the_devices_it_is_shown(machine, monkeypatch, wanted, indices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
    assert [one.index for one in visible_gpus()] == indices
    assert [value for _, value in device_choices()[2:]] == [f"cuda:{number}" for number in range(len(indices))]


def test_a_mig_instance_is_a_device_of_unknown_memory(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-11c29e81")
    assert device_choices()[2:] == [("cuda:0  MIG, n/a free", "cuda:0")]
