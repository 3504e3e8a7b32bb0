import dataclasses

import pytest

from psi_tui.plots.figures import TERMINAL_PALETTE, Curves, MirroredHistogram, Scatter, Series

FIGURES = {
    "histogram": lambda: MirroredHistogram((0.0, 0.5, 1.0), (1, 2), (2, 1), "benign", "fgsm@0.03"),
    "scatter": lambda: Scatter((Series("benign", (0.1,), (99.0,), "benign"),), "PSI", "accuracy"),
    "curves": lambda: Curves((Series("conv1", (0.0, 0.1), (0.5, 0.4)),), "epsilon", "PSI", None),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_figures_of_equal_values_are_equal(make):
    assert make() == make()
    assert hash(make()) == hash(make())


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_no_figure_changes_once_made(make):
    figure = make()
    for field in dataclasses.fields(figure):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(figure, field.name, None)


def test_figures_of_other_values_differ():
    histogram = FIGURES["histogram"]()
    assert histogram != dataclasses.replace(histogram, lower=(2, 2))
    assert Scatter((), "PSI", "accuracy") != Curves((), "PSI", "accuracy")


def test_roles_have_colors_of_their_own():
    own = {TERMINAL_PALETTE.benign, TERMINAL_PALETTE.attacked, TERMINAL_PALETTE.control}
    assert len(own) == 3
    assert not own & set(TERMINAL_PALETTE.other)
