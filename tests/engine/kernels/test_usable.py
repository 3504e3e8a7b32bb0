"""Which kernels are used: those whose examples come out right on the very device; no memory is no answer."""

import errno
import os
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module

import pytest
import torch
from torch.overrides import TorchFunctionMode

from psi_core.engine import kernels
from psi_core.engine.kernels import _are_usable

pytest.importorskip("triton")

KERNELS = {
    "one_pass": ("_sum_tiles", "_add_tiles"),
    "pooling": ("_pool_tiles",),
    "steps": ("_step_tiles", "_ready_tiles", "_norm_tiles", "_gaussian_images"),
}
DEVICE = torch.device("cuda:1")


class Kernel:
    """Raises errors in place of a launch, one after another."""

    def __init__(self, *errors):
        self.errors = [*errors]

    def __getitem__(self, _grid):
        return self.launch

    def launch(self, *_arguments, **_options):
        error = self.errors.pop(0)
        if error is not None:
            raise error


@pytest.fixture(autouse=True)
def entered(monkeypatch):
    """Devices that were made the current one; examples lie on the CPU, wherever they are wanted."""
    devices = []

    @contextmanager
    def enter(device):
        devices.append(device)
        yield
        devices.pop()

    monkeypatch.setattr(torch.cuda, "device", enter)
    for name in KERNELS:
        module = import_module(f"psi_core.engine.kernels.{name}")
        right = module.is_right_on
        monkeypatch.setattr(module, "is_right_on", lambda _device, right=right: right(torch.device("cpu")))
    _are_usable.cache_clear()
    yield devices
    _are_usable.cache_clear()


def put(monkeypatch, name, kernel):
    for each in KERNELS[name]:
        monkeypatch.setattr(f"psi_core.engine.kernels.{name}.{each}", kernel)


def errors_of_compilers():
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources, PTXASError

    return [
        PTXASError("ptxas fatal: unknown target"),
        OutOfResources(1, 0, "shared memory"),
        CompilationError("", None, "x"),
        subprocess.CalledProcessError(1, "gcc"),
        *(RuntimeError("0 active drivers"), OSError("no ptxas"), ImportError("libcuda"), AssertionError(), KeyError()),
    ]


@pytest.mark.parametrize("name", KERNELS)
def test_whatever_a_compiler_raises_means_no_kernels_of_that_name(name, monkeypatch):
    for error in errors_of_compilers():
        put(monkeypatch, name, Kernel(error))
        _are_usable.cache_clear()
        assert not _are_usable(DEVICE, name)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_that_write_nothing_are_not_used(name, monkeypatch):
    put(monkeypatch, name, Kernel(*[None] * 40))
    assert not _are_usable(DEVICE, name)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=["torch", "triton", "machine"],
)
def test_no_memory_is_no_answer_and_is_asked_again(name, error, monkeypatch):
    kernel = Kernel(error, ValueError("no such device"))
    put(monkeypatch, name, kernel)
    with pytest.raises(MemoryError if isinstance(error, OSError) else type(error)):
        _are_usable(DEVICE, name)
    assert not _are_usable(DEVICE, name)
    assert not kernel.errors
    assert not _are_usable(DEVICE, name), "kept"


def test_examples_run_on_the_device_in_question_and_out_of_the_callers_modes(entered, monkeypatch):
    seen = []

    def look(device):
        values = torch.relu(torch.ones(3))
        seen.append((device, [*entered], values.is_inference(), torch.is_grad_enabled()))
        return True

    class Watched(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            assert func is not torch.relu
            return func(*args, **(kwargs or {}))

    monkeypatch.setattr("psi_core.engine.kernels.one_pass.is_right_on", look)
    with Watched(), torch.inference_mode():
        assert _are_usable(DEVICE, "one_pass")
    assert seen == [(DEVICE, [DEVICE], False, True)]
    assert entered == []


def test_what_sums_a_run_is_told_by_its_own_kernels(monkeypatch):
    from psi_core.devices import CPU, Device

    monkeypatch.setattr("psi_core.engine.kernels.one_pass.is_right_on", lambda _: True)
    monkeypatch.setattr("psi_core.engine.kernels.steps.is_right_on", lambda _: False)
    assert kernels.sums_on(Device.cuda(1)) == "kernels"
    assert not _are_usable(DEVICE, "steps")
    assert kernels.sums_on(CPU) is None
    _are_usable.cache_clear()
    monkeypatch.setenv("PSI_KERNELS", "0")
    assert kernels.sums_on(Device.cuda(1)) == "torch"


CODE = """
import torch
from psi_core.engine.kernels import one_pass, pooling, steps

torch.set_default_dtype(torch.float64)
device = torch.device("cpu")
for module in (one_pass, pooling, steps):
    assert module.is_right_on(device), module
one_pass.RECTIFICATIONS = {"relu": 2}
steps._FIRST_SIGNS[7] = not steps._FIRST_SIGNS[7]
usual = pooling.max_pool
pooling.max_pool = lambda images, window, step, margin: usual(images.abs(), window, step, margin)
for module in (one_pass, pooling, steps):
    assert not module.is_right_on(device), module
"""


def test_examples_come_out_right_and_a_wrong_kernel_is_seen():
    here = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
