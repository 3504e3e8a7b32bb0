"""Success: fooled, brought to a target, left where they were; and the columns of the conditions table that tell it."""

import numpy as np

from psi_core.statistics.recognition import fooled_percent, reached_percent, targets_of, unmoved_percent
from psi_core.tables.registry import table_rows
from tests.core.planted import fooled, planted_run


def test_fooled_are_those_right_before_and_wrong_now(own_folders):
    def change(run, arrays):
        fooled(benign=20, fgsm_03=50)(run, arrays)

    # Twenty of the fifty were wrong before: thirty of eighty.
    assert fooled_percent(planted_run(own_folders, change)).tolist() == [0, 37.5, 0, 0]
    assert np.isnan(fooled_percent(planted_run(own_folders, fooled(benign=100)))).all()


def test_targets_reached_stand_in_the_conditions_table(own_folders):
    def change(run, arrays):
        arrays["target"] = (arrays["label"] + 1) % 10
        fooled(benign=1)(run, arrays)
        arrays["prediction"][1, :40] = arrays["target"][:40]
        arrays["prediction"][0, 0] = arrays["target"][0]

    run = planted_run(own_folders, change, target="next")
    assert reached_percent(run).tolist() == [1, 40, 0, 0]
    rows = table_rows(run, "conditions")
    assert [row["target_percent"] for row in rows] == [1, 40, 0, 0]
    assert {row["target"] for row in rows} == {"next"}


def test_without_a_target_or_its_array_there_is_no_share(own_folders):
    untargeted, older = planted_run(own_folders), planted_run(own_folders, target="random")
    for run, target in ((untargeted, None), (older, "random")):
        assert targets_of(run) is None
        assert {(row["target"], row["target_percent"]) for row in table_rows(run, "conditions")} == {(target, None)}


def test_unmoved_are_those_that_no_pixel_of_which_changed(own_folders):
    def change(_run, arrays):
        arrays["linf"][1, :7] = 0

    assert unmoved_percent(planted_run(own_folders, change)).tolist() == [100, 7, 0, 0]
