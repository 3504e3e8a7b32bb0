"""Precision: what torch computes at holds whatever was asked of it before, and all settings come back."""

import itertools
import subprocess
import sys
from functools import partial

import pytest
import torch

from psi_core.devices import CPU, Device
from psi_core.engine import analyze
from psi_core.engine.precision import precision
from psi_core.runs.run import Run
from tests.engine.processes import assert_same_results, small_config

SETTINGS = [
    *(("generic", "all"), ("cuda", "all"), ("mkldnn", "all")),
    *((place, each) for place in ("cuda", "mkldnn") for each in ("matmul", "conv", "rnn")),
]


BELOW_FLOAT32 = ("bf16_reduced_precision_reduction", "fp16_reduced_precision_reduction", "fp16_accumulation")
UNTOUCHED = torch._C._get_cublas_allow_bf16_reduced_precision_reduction()
OF_BOTH_KINDS = (False, False) if isinstance(UNTOUCHED, tuple) else False  # Older torch has one setting, not two.


def old_settings():
    """What torch says of its old settings, or that it refuses to say."""
    backends, told = torch.backends, []
    for read in (
        lambda: backends.cudnn.allow_tf32,
        lambda: backends.cuda.matmul.allow_tf32,
        torch.get_float32_matmul_precision,
    ):
        try:
            told.append(read())
        except RuntimeError:
            told.append("refused")
    return told


def settings_of():
    backends, attention = torch.backends, ("flash", "mem_efficient", "cudnn", "math")
    return (
        old_settings(),
        [torch._C._get_fp32_precision_getter(*place) for place in SETTINGS],
        (backends.cudnn.deterministic, backends.cudnn.benchmark),
        [getattr(backends.cuda, f"{each}_sdp_enabled")() for each in attention],
        [getattr(torch._C, f"_get_cublas_allow_{each}")() for each in BELOW_FLOAT32],
        backends.cuda.fp16_bf16_reduction_math_sdp_allowed(),
        (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        [(torch.is_autocast_enabled(each), torch.get_autocast_dtype(each)) for each in ("cpu", "cuda")],
    )


def new_setting(place, value):
    return lambda: torch._C._set_fp32_precision_setter(*place, value)


ASKING = {
    "nothing": lambda: None,
    **{f"matmul {word}": partial(torch.set_float32_matmul_precision, word) for word in ("highest", "high", "medium")},
    **{f"cuBLAS {yes}": partial(setattr, torch.backends.cuda.matmul, "allow_tf32", yes) for yes in (True, False)},
    **{f"cuDNN {yes}": partial(setattr, torch.backends.cudnn, "allow_tf32", yes) for yes in (True, False)},
    **{
        f"{'.'.join(place)} {value}": new_setting(place, value)
        for place in SETTINGS
        for value in ("ieee", "tf32", "none")
    },
    "mkldnn.matmul bf16": new_setting(("mkldnn", "matmul"), "bf16"),
    **{
        f"{name} {value}": partial(setattr, torch.backends.cuda.matmul, f"allow_{name}", value)
        for name, value in zip(BELOW_FLOAT32, (False, OF_BOTH_KINDS, True), strict=True)
    },
    "attention in 16 bits": partial(torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp, True),
    "deterministic algorithms": partial(torch.use_deterministic_algorithms, True),
    **{f"autocast on {place}": partial(torch.set_autocast_enabled, place, True) for place in ("cpu", "cuda")},
    "autocast to float16": partial(torch.set_autocast_dtype, "cpu", torch.float16),
    "cuDNN searches": partial(setattr, torch.backends.cudnn, "benchmark", True),
    "no math attention": partial(torch.backends.cuda.enable_math_sdp, False),
}
"""Ways in which a user's file may ask torch for a precision."""


@pytest.fixture
def put_back():
    """Torch's settings, left as they were."""
    with precision("exact", Device("cuda:0")):
        yield
        torch.backends.cuda.enable_math_sdp(True)
        torch.use_deterministic_algorithms(False)
        for place in ("cpu", "cuda"):
            torch.set_autocast_enabled(place, False)
        torch.set_autocast_dtype("cpu", torch.bfloat16)


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("policy", ["exact", "tf32", "bf16"])
def test_precision_holds_whatever_was_asked_for_before_and_is_put_back(policy, put_back):
    value = "tf32" if policy == "tf32" else "ieee"
    is_tf32 = policy == "tf32"
    for first, second in itertools.product(ASKING, repeat=2):
        ASKING[first](), ASKING[second]()
        before = settings_of()
        for device, attention in ((CPU, before[3]), (Device("cuda:0"), [False, False, False, True])):
            with precision(policy, device):
                inside = settings_of()
            assert inside[:6] == (
                [is_tf32, is_tf32, "high" if is_tf32 else "highest"],
                [value] * len(SETTINGS),
                (True, False),
                attention,
                [UNTOUCHED] * 2 + [False],
                False,
            ), (first, second)
            assert inside[6] in ((False, False), (True, True)), (first, second)  # It goes on where there are none.
            assert inside[7][device.kind == "cuda"][0] == (policy == "bf16" and device == CPU), (first, second)
            assert settings_of() == before, (first, second)


def test_settings_that_nobody_has_touched_are_put_back():
    """In a process of its own: what torch begins with cannot be set again."""
    script = """
from psi_core.devices import CPU
from psi_core.engine.precision import precision
from tests.engine.processes import assert_same_results, small_config
from tests.engine.test_precision import settings_of

before = settings_of()
with precision("exact", CPU):
    assert settings_of() != before
assert settings_of() == before, (before, settings_of())
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_what_followed_a_wider_setting_still_follows_it(put_back):
    for place in SETTINGS:
        new_setting(place, "none")()
    with precision("tf32", CPU):
        pass
    for value in ("tf32", "ieee"):
        new_setting(("generic", "all"), value)()
        assert settings_of()[1] == [value] * len(SETTINGS)


@pytest.mark.parametrize("policy", ["exact", "tf32", "bf16"])
def test_products_have_the_precisions_type_and_errors_end_it(policy, put_back):
    before = settings_of()
    with pytest.raises(KeyError), precision(policy, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if policy == "bf16" else torch.float32)
        raise KeyError
    assert settings_of() == before
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16])
def test_an_autocast_around_a_run_does_not_reach_it(lower, put_back):
    with torch.autocast("cpu", lower):
        for policy in ("exact", "tf32"):
            with precision("bf16", CPU), precision(policy, CPU):
                assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        with precision("bf16", CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == lower


OWN = """
import torch
from torch import nn

class Own(nn.Module):
    input_size = (1, 12, 12)

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.Linear(800, 10)

    def forward(self, images):
        images = images * torch.ones(1, 1, 1, 1) + torch.tensor(0.1)
        return self.head(self.norm(self.conv(images)).relu().flatten(1))
"""
"""A network that makes tensors as it runs, and for which the memory format is found out."""


@pytest.mark.parametrize("surrounded", ["autocast", "float64", "TF32"])
def test_a_run_of_a_network_of_ones_own_is_the_same_whatever_a_notebook_has_set(surrounded, tmp_path, put_back):
    (tmp_path / "own.py").write_text(OWN)
    config = small_config(model=f"{tmp_path / 'own.py'}:Own", weights="built", images=20)
    alone = analyze(config, tmp_path / "alone").directory
    if surrounded == "float64":
        torch.set_default_dtype(torch.float64)
    if surrounded == "TF32":
        torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=surrounded == "autocast"):
            within = analyze(config, tmp_path / "within").directory
    finally:
        torch.set_default_dtype(torch.float32)
    assert Run(alone).config.memory_format == "channels_last"
    assert_same_results(within, alone)


@pytest.mark.parametrize("policy", ["exact", "bf16"])
def test_a_run_within_a_notebooks_autocast_has_the_bits_of_one_without(policy, tmp_path):
    config = small_config(images=20, precision=policy, attack="fgsm,pgd", steps=2)
    alone = analyze(config, tmp_path / "alone").directory
    with torch.autocast("cpu", torch.bfloat16):
        within = analyze(config, tmp_path / "within").directory
    assert_same_results(within, alone)
