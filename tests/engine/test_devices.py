"""Devices: what is asked for is there or refused, and precision is put back."""

import pytest
import torch

from psi_core.devices import CPU
from psi_core.engine.devices import automatic_batch, describe_device, is_out_of_memory, precision, resolve_device
from psi_core.errors import ConfigError


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


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


def settings_of():
    backends = torch.backends
    return (backends.fp32_precision, backends.cudnn.conv.fp32_precision, backends.cudnn.deterministic,
            backends.cudnn.benchmark)  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "inside"),
    [
        ("exact", ("ieee", "ieee", True, False)),
        ("tf32", ("tf32", "tf32", False, True)),
        ("bf16", ("ieee", "ieee", False, True)),
    ],
)
def test_precision_holds_inside_its_block_and_is_put_back(policy, inside):
    before = settings_of()
    with pytest.raises(KeyError), precision(policy, CPU):
        assert settings_of() == inside
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if policy == "bf16" else torch.float32)
        raise KeyError
    assert settings_of() == before
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("activation_bytes", "batch"), [(0, 256), (1, 256), (2**22, 256), (2**22 + 1, 128), (2**29, 2), (2**31, 1)]
)
def test_the_automatic_batch_is_a_power_of_two_that_fits(activation_bytes, batch):
    assert automatic_batch(CPU, activation_bytes) == batch


def test_out_of_memory_is_known_by_kind_or_words():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_cpus_own_refusal_of_memory_is_known():
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refusal.value)


def test_a_device_is_described_with_its_versions():
    facts = describe_device(CPU)
    assert facts["torch"] == torch.__version__
    assert facts["cuda"] is None
    assert "core" in facts["device_name"]
