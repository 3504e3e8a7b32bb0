"""Evidence of runs at lower precision: how many of the gradient's signs are those of `exact`."""

import pytest

from psi_core.evidence import checks_of
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import PrecisionCompared
from tests.core.planted import found, planted_run


@pytest.mark.parametrize(("share", "status"), [(0.99, "green"), (0.989, "amber"), (0.85, "amber"), (0.849, "red")])
def test_the_share_of_signs_that_agree_is_shown(own_folders, share, status):
    run = planted_run(own_folders, precision="bf16")
    log = EventLog(events_path(run.directory, 0))
    log.write(PrecisionCompared(policy="bf16", sign_agreement=0.5))
    log.write(PrecisionCompared(policy="bf16", sign_agreement=share))
    check = found(run, "gradient signs")
    assert (check.status, check.value) == (status, pytest.approx(100 * share))
    assert f"{100 * share:.1f} % of the first batch's gradient signs at bf16" in check.sentence


def test_what_was_not_compared_is_not_checked(own_folders):
    run = planted_run(own_folders, precision="tf32")
    assert found(run, "gradient signs").status == "none"
    EventLog(events_path(run.directory, 0)).write(PrecisionCompared(policy="tf32", sign_agreement=None))
    assert found(run, "gradient signs").status == "none"


def test_a_run_at_exact_has_nothing_to_compare(own_folders):
    assert "gradient signs" not in {check.name for check in checks_of(planted_run(own_folders))}
