"""GPUs that are there and cannot be used, or not for this: whoever expects one is told why another device computes."""

import io

import pynvml
import pytest
import torch

from psi_core.devices import CPU, Device
from psi_core.engine import devices
from psi_core.engine.answers import doctor_facts, plan
from psi_core.engine.devices import device_note, resolve_device, why_no_gpu, worker_device
from psi_core.engine.preparation import prepare
from psi_core.engine.selftest.suite import selftest
from psi_core.engine.work.worker import Worker
from psi_core.errors import ConfigError
from psi_core.runs.run import Run
from psi_core.serve import Reply
from tests.engine.processes import events, new_run, small_config


@pytest.mark.parametrize(
    ("capability", "built", "fits"),
    [
        ((6, 0), ["sm_75", "sm_80", "sm_90"], False),
        ((8, 6), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 0), ["sm_86", "sm_90"], False),
        ((12, 1), ["sm_90", "sm_120a"], True),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((10, 0), ["sm_90", "sm_120", "compute_120"], False),
        ((6, 0), [], True),
    ],
)
def test_a_gpu_that_torch_was_not_built_for_is_left_alone(capability, built, fits, two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability if device != 1 else (9, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    assert resolve_device("auto") == ("cuda:0" if fits else "cuda:1" if "sm_90" in built else "cpu")
    if fits:
        assert resolve_device("cuda:0") == "cuda:0"
        return
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    name = rf"Tesla P100 has compute capability {capability[0]}.{capability[1]}, and torch .* was built for sm_"
    with pytest.raises(ConfigError, match=rf"device: {name}.*; write cpu, or install a torch that was built for it"):
        resolve_device("cuda:1")
    assert resolve_device("auto") == "cpu"
    assert device_note("auto", CPU).startswith("device: Tesla P100 has compute capability")


def old_driver(monkeypatch, gpus=("Tesla K80",)):
    """A driver that lists GPUs which torch cannot use."""
    too_old = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"

    def refuse():
        raise RuntimeError(too_old)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    monkeypatch.setattr("psi_core.engine.devices._driver_and_gpus", lambda: ("470.57", list(gpus), ""))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_auto_says_why_it_leaves_a_gpu_alone(monkeypatch):
    old_driver(monkeypatch)
    told = why_no_gpu()
    assert told.startswith("device: Tesla K80 with driver 470.57 cannot be used by torch ")
    assert told.endswith("(The NVIDIA driver on your system is too old (found version 11040))")
    assert [note for note in prepare(small_config(device="auto")).notes if "Tesla" in note] == [
        f"{told}; the CPU computes instead"
    ]
    assert not [note for note in prepare(small_config(device="cpu")).notes if "Tesla" in note]
    assert doctor_facts()["cuda_trouble"] == told


def test_a_gpu_that_is_asked_for_by_name_is_refused_with_the_drivers_reason(monkeypatch):
    old_driver(monkeypatch)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match=rf"{name} is not there; Tesla K80 .* too old .*; write cpu or auto"):
            resolve_device(name)


@pytest.mark.parametrize("visible", ["9", "1,0", "GPU-0123"])
def test_a_number_that_names_no_gpu_is_told_by_its_variable(visible, monkeypatch):
    old_driver(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert "too old" in why_no_gpu()

    def none():
        raise RuntimeError("No CUDA GPUs are available")

    monkeypatch.setattr(torch.cuda, "init", none)
    assert why_no_gpu().endswith(f"(CUDA_VISIBLE_DEVICES={visible} names none that is there)")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, None),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, None),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "RM has detected an NVML/RM version mismatch"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "Insufficient Permissions"),
    ],
)
def test_a_driver_that_answers_with_an_error_is_trouble_and_a_missing_one_is_not(code, told, monkeypatch):
    def fail():
        raise pynvml.NVMLError(code)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert (why_no_gpu() is None) == (told is None)
    if told is not None:
        assert f"the NVIDIA driver does not answer ({told})" in why_no_gpu()
        assert told in device_note("auto", CPU)


def test_a_gpu_that_is_lost_leaves_the_others(monkeypatch):
    def handle(number):
        if number == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return number

    for name, answer in (
        ("nvmlInit", lambda: None),
        ("nvmlShutdown", lambda: None),
        ("nvmlSystemGetDriverVersion", lambda: "580.1"),
        ("nvmlDeviceGetCount", lambda: 2),
        ("nvmlDeviceGetHandleByIndex", handle),
        ("nvmlDeviceGetName", lambda handle: f"GPU {handle}"),
    ):
        monkeypatch.setattr(pynvml, name, answer)
    assert devices._driver_and_gpus() == ("580.1", ["GPU 1"], "")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
    assert devices._driver_and_gpus() == ("580.1", [], "GPU is lost")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "the NVIDIA driver does not answer (GPU is lost)" in device_note("auto", CPU)


@pytest.mark.parametrize(
    ("asked", "device", "told"),
    [
        *(("auto", "cuda:0", ""), ("auto", "cpu", "; the CPU computes instead"), ("cpu", "cpu", "")),
        *(("cuda", "cuda:0", ""), ("cuda:1", "cuda:1", "")),
        *(("cuda:1", "cuda:0", "; cuda:0 computes instead"), ("cuda:0", "cpu", "; the CPU computes instead")),
    ],
)
def test_another_device_than_was_asked_for_is_told(asked, device, told, monkeypatch):
    old_driver(monkeypatch)
    note = device_note(asked, Device(device))
    assert note.endswith(told)
    assert bool(note) == bool(told)
    old_driver(monkeypatch, gpus=())
    assert device_note("cuda:0", CPU) == "device: cuda:0 is not there; the CPU computes instead"
    assert device_note("auto", CPU) == ""


def test_workers_leave_out_a_gpu_that_torch_was_not_built_for(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P100")
    capabilities = {0: (6, 0), 1: (9, 0), 2: (8, 0)}
    monkeypatch.setattr(
        torch.cuda,
        "get_device_capability",
        lambda device: capabilities[Device(str(device)).number if isinstance(device, str) else device],
    )
    assert [worker_device(resolve_device("auto"), local) for local in range(4)] == [
        "cuda:1",
        "cuda:2",
        "cuda:1",
        "cuda:2",
    ]
    assert device_note("cuda:0", Device("cuda:1")).startswith(
        "device: Tesla P100 has compute capability 6.0, and torch "
    )
    with pytest.raises(ConfigError, match="devices: 3 asked for and 2 there"):
        prepare(small_config(device="cuda:1", devices=3))


def test_every_workers_gpu_must_have_the_precision(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: (8, 0) if str(device)[-1] == "0" else (7, 0)
    )
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: [])
    with pytest.raises(ConfigError, match=r"bf16 needs .* GPU of cuda:1 has 7\.0"):
        prepare(small_config(device="cuda:0", devices=2, precision="bf16"))


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles", "-1,0"])
def test_a_hidden_gpu_is_no_trouble_nor_is_a_missing_one(monkeypatch, hidden):
    old_driver(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert why_no_gpu() is None
    old_driver(monkeypatch, gpus=())
    assert why_no_gpu() is None
    assert "cuda_trouble" not in doctor_facts()


def test_a_run_whose_gpu_is_gone_says_so_before_it_goes_on(tmp_path, monkeypatch):
    directory = new_run(tmp_path, images=10, chunk=10)
    config = directory / "config.json"
    old_driver(monkeypatch)
    config.write_text(config.read_text().replace('"device": "cpu"', '"device": "cuda:0"'))
    Worker(directory).work()
    told = [event["text"] for event in events(directory) if event["event"] == "warning"]
    assert [text for text in told if text.startswith("device: Tesla K80 ")] == [device_note("cuda:0", CPU)]
    assert Run(directory).status == "done"


def test_whatever_chooses_a_device_says_why_it_is_the_cpu(tmp_path, monkeypatch):
    old_driver(monkeypatch)
    note = device_note("auto", CPU)
    assert plan({"weights": "random", "images": 10}, str(tmp_path))["device_note"] == note
    assert selftest(Reply(io.StringIO()), parts=["signs"])["device_note"] == note
    assert plan({"weights": "random", "images": 10, "device": "cpu"}, str(tmp_path))["device_note"] == ""
