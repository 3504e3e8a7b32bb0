"""The self-test: parts by name, within a time, each one's failure its own; and what its parts would find."""

import contextlib
import json
import traceback

import numpy as np
import pytest
import torch

from psi_core.devices import CPU
from psi_core.engine.attacks import perturbations
from psi_core.engine.measure.step import FusedStep
from psi_core.engine.selftest import speed, suite
from psi_core.engine.selftest.correctness import agreement, repeat, signs
from psi_core.engine.selftest.part import Finding, Part, Trial, differences
from psi_core.engine.selftest.suite import selftest
from psi_core.errors import ConfigError
from psi_core.runs.chunks import chunk_path, read_arrays
from tests.recorded import record_run, rewrite_chunk


class Told(list):
    def report(self, event):
        self.append((event.part, event.verdict))


def test_parts_are_looked_at_by_name_and_kept_in_a_file(tmp_path):
    told = Told()
    found = selftest(told, "cpu", ["signs", "products"], to=str(tmp_path / "found.json"))
    assert told == [("signs", "passed"), ("products", "passed")]
    assert found["passed"]
    assert json.loads((tmp_path / "found.json").read_text())["parts"].keys() == found["parts"].keys()
    assert found["parts"]["products"]["figures"]["exact after high"] < 1e-5


def test_the_device_is_compared_with_the_cpu(tmp_path):
    assert agreement(Trial(CPU, tmp_path)).verdict == "passed"


def test_a_gradient_that_keeps_its_signs_alone_does_not_repeat_itself(tmp_path, monkeypatch):
    trial = Trial(CPU, tmp_path)
    assert repeat(trial).verdict == "passed"
    usual, generator = perturbations.gradient_of, torch.Generator().manual_seed(0)

    def shaken(*given):
        gradient = usual(*given)
        return gradient * (1 + 1e-6 * torch.rand(gradient.shape, dtype=gradient.dtype, generator=generator))

    monkeypatch.setattr(perturbations, "gradient_of", shaken)
    found = repeat(trial)
    assert found.verdict == "failed"
    assert all(found.figures[policy]["differing_chunks"]["linf"] for policy in trial.policies)


def test_a_part_that_fails_ends_no_other(monkeypatch, capsys):
    def fails(trial):
        raise RuntimeError("CUDA error: an illegal memory access\nwas encountered")

    parts = (Part("bad", "", 1, fails), Part("wrong", "", 1, lambda trial: Finding("failed", "no")))
    monkeypatch.setattr(suite, "PARTS", (*parts, Part("signs", "", 1, signs)))
    told = Told()
    found = selftest(told, "cpu")
    assert told == [("bad", "failed"), ("wrong", "failed"), ("signs", "passed")]
    assert not found["passed"]
    assert found["parts"]["bad"]["words"] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert "Traceback" in capsys.readouterr().err


def test_what_there_is_no_time_for_is_left_out():
    told = Told()
    found = selftest(told, "cpu", ["signs"], limit=0)
    assert told == [("signs", "left out")]
    assert found["passed"]


@pytest.mark.parametrize("wrong", [{"parts": ["sings"]}, {"device": "cuda:99"}])
def test_what_it_cannot_do_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"signs|cuda"):
        selftest(Told(), **{"device": "cpu", **wrong})


def test_one_flipped_bit_is_a_difference(tmp_path):
    one, other = (record_run(tmp_path / name, images=20, chunk=10) for name in ("one", "other"))
    assert differences(one, other).is_none
    arrays = {name: array.copy() for name, array in read_arrays(chunk_path(other, 1)).items()}
    arrays["psi"].view(np.uint32)[0, 0, 0] ^= 1
    rewrite_chunk(other, 1, arrays)
    found = differences(one, other)
    assert found.chunks == {"psi": 1}
    assert 0 < found.psi < 1e-6
    chunk_path(other, 0).unlink()
    assert differences(one, other).missing == 1


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_that_a_part_recorded_stays_on_the_device(fails, tmp_path, monkeypatch):
    let_go = []
    monkeypatch.setattr(FusedStep, "let_go", lambda step: let_go.extend([step]))
    with (
        pytest.raises(KeyError) if fails else contextlib.nullcontext(),
        speed._ready(Trial(CPU, tmp_path), model="lenet5", precision="exact") as (_, maker),
    ):
        step = maker.step
        if fails:
            raise KeyError
    assert let_go == [step]


def test_a_wait_is_told_by_the_line_that_was_under_way():
    def innermost():
        return traceback.extract_stack()

    stack = traceback.StackSummary.from_list(
        [("psi_core/engine/measure/step.py", 7, "measure", ""), (speed.__file__, 121, "note", "")]
    )
    assert speed._place(stack) == "step.py:7"
    assert speed._place(innermost()) == "elsewhere"
