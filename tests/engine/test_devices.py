"""Devices: what is asked for is there or refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from psi_core.devices import CPU, Device
from psi_core.engine import devices, memory
from psi_core.engine.devices import (
    automatic_batch,
    describe_device,
    is_out_of_memory,
    peak_memory,
    require_precision,
    resolve_device,
)
from psi_core.errors import ConfigError


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "_driver_and_gpus", lambda: (None, [], ""))


@pytest.mark.parametrize(
    ("asked", "found"), [("auto", "cuda:0"), ("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")]
)
def test_a_device_is_resolved(asked, found, two_gpus):
    assert resolve_device(asked) == found


def test_a_device_that_is_not_there_is_refused(two_gpus):
    with pytest.raises(ConfigError, match="cuda:2 is not there; this machine has cuda:0 to cuda:1; write cpu or auto"):
        resolve_device("cuda:2")


def test_without_a_gpu_auto_is_the_cpu(no_gpu):
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="cuda is not there; this machine has no CUDA device"):
        resolve_device("cuda")


def test_a_precision_that_a_gpu_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    for capability, refused in (((7, 5), True), ((8, 0), False), ((9, 0), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        for policy in ("exact", "tf32", "bf16"):
            if policy == "bf16" and refused:
                with pytest.raises(ConfigError, match=r"bf16 needs .* 8.0, and Tesla V100 has 7.5; write exact"):
                    require_precision(policy, Device("cuda:1"))
            else:
                require_precision(policy, Device("cuda:1"))
    require_precision("bf16", CPU)


@pytest.mark.parametrize(
    ("activation_bytes", "batch"), [(0, 256), (1, 256), (2**22, 256), (2**22 + 1, 128), (2**29, 2), (2**31, 1)]
)
def test_the_automatic_batch_is_a_power_of_two_that_fits(activation_bytes, batch, monkeypatch):
    monkeypatch.setattr(devices, "total_memory", lambda: 2**40)
    assert automatic_batch(CPU, activation_bytes) == batch


@pytest.mark.parametrize(
    ("said", "threads"), [(None, 6), ("4", 4), ("4,2", 4), (" 3 ", 3), ("64", 6), ("0", 6), ("", 6), ("many", 6)]
)
def test_threads_are_the_cores_or_what_openmp_is_told(said, threads, monkeypatch):
    monkeypatch.setattr(devices, "usable_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert devices.automatic_threads() == threads


def test_out_of_memory_is_known_by_kind_or_words():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    for words in (
        "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation after trying 6 plans.",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "Triton Error [CUDA]: out of memory",
        "CUDA driver error: out of memory",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "NCCL Error 1: unhandled cuda error. Last error:\nCuda failure 2 'out of memory'",
        "HIP out of memory. Tried to allocate 20.00 MiB",
        "HIP error: out of memory",
        "miopenStatusAllocFailed",
        "MPS backend out of memory (MPS allocated: 8.00 GB)",
        "XPU out of memory. Tried to allocate 2.00 GiB",
        "std::bad_alloc",
    ):
        assert is_out_of_memory(RuntimeError(words)), words
    for words in (
        "mat1 and mat2 shapes cannot be multiplied",
        "CUDA error: an illegal memory access was encountered",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasSgemm(handle)`",
        "Triton Error [CUDA]: out of resource: shared memory, Required: 300000, Hardware limit: 232448",
        "no kernel image is available for execution on the device",
    ):
        assert not is_out_of_memory(RuntimeError(words)), words


def test_the_cpus_own_refusal_of_memory_is_known():
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refusal.value)
    with pytest.raises(MemoryError) as refusal:
        np.empty(2**60, np.uint8)
    assert is_out_of_memory(refusal.value)
    assert not is_out_of_memory(ValueError("CUDA out of memory"))


def test_a_device_is_described_with_its_versions():
    facts = describe_device(CPU)
    assert facts["torch"] == torch.__version__
    assert facts["cuda"] is None
    assert "core" in facts["device_name"]


def test_the_peak_of_a_process_is_in_bytes_on_linux_and_on_macos(monkeypatch):
    """The system tells it in kibibytes there, in bytes here."""
    monkeypatch.setattr("sys.platform", "linux")
    linux = peak_memory(CPU)
    assert 50e6 < linux < 100e9
    monkeypatch.setattr("sys.platform", "darwin")
    assert peak_memory(CPU) == pytest.approx(linux / 1024, rel=0.1)


GIGABYTE = 2**30


@pytest.fixture
def granted(tmp_path, monkeypatch):
    """Makes a tree of control groups; takes their files, and which group this process is in."""

    def make(own, files):
        monkeypatch.setattr(memory, "_ROOT", tmp_path)
        monkeypatch.setattr(memory, "_meminfo", {"MemTotal": 64 * GIGABYTE, "MemAvailable": 32 * GIGABYTE}.get)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        read = Path.read_text
        given = lambda path, **options: own if str(path) == "/proc/self/cgroup" else read(path, **options)  # noqa: E731
        monkeypatch.setattr(Path, "read_text", given)
        return memory.total_memory() / GIGABYTE, memory.available_memory() / GIGABYTE

    return make


def test_memory_is_the_machine_s_where_nothing_limits_it(granted):
    assert granted("0::/a/b\n", {"a/memory.max": "max", "a/memory.current": 5}) == (64, 32)


def test_memory_is_what_the_narrowest_group_grants(granted):
    files = {
        "a/memory.max": 8 * GIGABYTE,
        "a/memory.current": 6 * GIGABYTE,
        "a/memory.stat": f"anon 7\ninactive_file {GIGABYTE}",
        "a/b/memory.max": 16 * GIGABYTE,
        "a/b/memory.current": GIGABYTE,
        "memory.max": "max",
        "memory.current": "1",
    }
    assert granted("0::/a/b\n", files) == (8, 3)


def test_memory_of_a_container_stands_at_the_root_of_its_groups(granted):
    files = {"memory.max": 4 * GIGABYTE, "memory.current": GIGABYTE}
    assert granted("0::/../outside\n0::/\n", files) == (4, 3)


def test_memory_of_the_older_groups_is_read_too(granted):
    files = {
        "memory/job/memory.limit_in_bytes": 2 * GIGABYTE,
        "memory/job/memory.usage_in_bytes": 3 * GIGABYTE,
        "memory/memory.limit_in_bytes": 2**63 - 4096,
        "memory/memory.usage_in_bytes": 7,
    }
    assert granted("4:cpu,cpuacct:/x\n3:memory:/job\n0::/job\n", files) == (2, 0)


def test_the_automatic_batch_fits_what_is_granted(granted):
    granted("0::/\n", {})
    before = automatic_batch(CPU, 2**24)
    granted("0::/\n", {"memory.max": GIGABYTE // 4, "memory.current": 1})
    assert (before, automatic_batch(CPU, 2**24)) == (64, 4)


def test_memory_is_known_on_any_system(tmp_path, monkeypatch):
    """Linux tells what is free; elsewhere it is all of the machine's, or what every machine has."""
    whole = memory.os.sysconf("SC_PHYS_PAGES") * memory.os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.available_memory() <= whole
    monkeypatch.setattr(memory, "_limits", lambda: iter(()))
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "gone")
    assert memory.available_memory() == whole

    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(memory.os, "sysconf", unknown)
    assert memory.available_memory() == 4 << 30
