"""Images attacked elsewhere are compared with the control that has their size, where the run has one."""

import numpy as np
import pytest

from psi_core import Run
from psi_core.evidence import checks_of
from psi_core.tables.registry import table_rows
from tests.recorded import record_run, replant


def verdicts(run):
    return {row["layer"]: row["verdict"] for row in table_rows(run, "layers") if row["condition"] == "attacked"}


@pytest.mark.parametrize(("largest", "control"), [(0.1, "sign-noise@0.1"), (0.05, None)])
def test_the_control_is_the_first_one_at_their_largest_change(largest, control, own_folders, tmp_path):
    options = {"attack": "none", "attacked": f"npz:{tmp_path / 'a.npz'}", "epsilon": "0.03,0.1"}
    directory = record_run(own_folders, **options, controls="sign-noise,anti-fgsm")
    run = Run(directory)
    linf = run.array("linf").copy()
    linf[run.conditions.index("attacked")] = np.linspace(0, largest, run.images, dtype=np.float32)
    replant(directory, linf=linf)
    run = Run(directory)
    (given,) = (each for each in run.condition_details if each.is_external)
    assert given.control == control
    assert any("no noise of its size" in said for said in verdicts(run).values()) == (control is None)
    (check,) = (each for each in checks_of(run) if each.name == "controls")
    assert check.status == ("amber" if control is None else "green")


def test_without_results_they_have_none(own_folders, tmp_path):
    directory = record_run(own_folders, attack="none", attacked=f"npz:{tmp_path / 'a.npz'}", chunks=[])
    assert [each.control for each in Run(directory).condition_details if each.is_external] == [None]
