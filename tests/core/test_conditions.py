"""Conditions: names that read back, and their order."""

import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi_core.conditions import (
    ATTACK_NAMES,
    CONTROL_NAMES,
    Condition,
    conditions_of,
    epsilon_in_levels,
    epsilon_text,
    noises_of,
)

epsilons = st.floats(0, 1)


@given(epsilons)
def test_epsilon_text_reads_back_as_the_same_float(epsilon):
    assert float(epsilon_text(epsilon)) == epsilon


@given(epsilons, epsilons)
def test_different_epsilons_never_share_a_name(one, other):
    assert (Condition("fgsm", one).name == Condition("fgsm", other).name) == (one == other)


@pytest.mark.parametrize(("epsilon", "text"), [(0, "0"), (1, "1"), (0.03, "0.03"), (8 / 255, "0.03137254901960784")])
def test_epsilon_text_is_short(epsilon, text):
    assert epsilon_text(epsilon) == text


def test_epsilon_in_levels_is_a_share_of_255():
    assert epsilon_in_levels(0.03) == "7.65/255"
    assert epsilon_in_levels(8 / 255) == "8/255"


def test_names_say_attack_and_epsilon():
    assert Condition("benign").name == "benign"
    assert Condition("sign-noise", 0.1).name == "sign-noise@0.1"


def test_each_condition_has_the_random_stream_of_its_name():
    assert Condition("sign-noise", 0.03).stream == zlib.crc32(b"sign-noise@0.03") == 0xE1E66B05


def test_order_is_benign_then_attacks_then_controls():
    names = [c.name for c in conditions_of(["fgsm", "other"], [0.1, 0.03], ["sign-noise", "anti-fgsm"])]
    assert names == [
        "benign",
        *("fgsm@0.1", "fgsm@0.03", "other@0.1", "other@0.03"),
        *("sign-noise@0.1", "sign-noise@0.03", "anti-fgsm@0.1", "anti-fgsm@0.03"),
    ]


@given(st.lists(epsilons, unique=True), st.permutations(CONTROL_NAMES))
def test_everything_is_compared_with_the_first_control_at_its_epsilon(chosen, controls):
    conditions = conditions_of(ATTACK_NAMES, chosen, controls)
    by_name = {condition.name: condition for condition in conditions}
    assert len(by_name) == len(conditions)
    for condition in conditions:
        is_first = condition.attack == controls[0]
        if condition.is_benign or condition.epsilon == 0 or (is_first and condition.attack != "sign-noise"):
            assert condition.control is None
        elif is_first:
            assert condition.control == Condition("sign-noise-2", condition.epsilon).name
        else:
            control = by_name[condition.control]
            assert (control.attack, control.epsilon) == (controls[0], condition.epsilon)
            assert control.is_control


def test_controls_accompany_every_epsilon_above_0_only():
    assert [c.name for c in conditions_of(["fgsm"], [0, 0.1], ["sign-noise"])] == [
        *("benign", "fgsm@0", "fgsm@0.1", "sign-noise@0.1")
    ]


def test_without_controls_nothing_names_one():
    assert [c.control for c in conditions_of(["fgsm"], [0.03], [])] == [None, None]


@pytest.mark.parametrize(
    ("controls", "noises"),
    [
        (["sign-noise", "gaussian", "anti-fgsm"], {"fgsm": "sign-noise gaussian", "sign-noise": "gaussian"}),
        (["anti-fgsm", "sign-noise"], {"fgsm": "sign-noise", "anti-fgsm": "sign-noise", "sign-noise": ""}),
        (["anti-fgsm"], {"fgsm": "", "anti-fgsm": ""}),
        (
            ["sign-noise", "sign-noise-2", "gaussian"],
            {"fgsm": "sign-noise gaussian", "sign-noise": "sign-noise-2", "sign-noise-2": "sign-noise"},
        ),
        (["sign-noise-2", "shuffled-fgsm"], {"fgsm": "sign-noise-2 shuffled-fgsm", "sign-noise-2": "shuffled-fgsm"}),
    ],
)
def test_noises_have_the_size_of_the_condition_and_a_second_draw_goes_with_its_first(controls, noises):
    conditions = conditions_of(["fgsm"], [0, 0.1, 0.3], controls)
    for condition in conditions:
        wanted = noises.get(condition.attack)
        if wanted is not None:
            sized = wanted.split() if condition.epsilon else []
            named = [Condition(noise, condition.epsilon).name for noise in sized]
            assert [each.name for each in noises_of(condition, conditions)] == named


def test_images_attacked_elsewhere_have_the_noise_of_their_controls_size():
    conditions = conditions_of([], [0.1, 0.3], ["anti-fgsm", "sign-noise"], has_external=True)
    external = next(each for each in conditions if each.is_external)
    assert noises_of(external, conditions) == ()
    sized = replace(external, control="anti-fgsm@0.3")
    assert [each.name for each in noises_of(sized, conditions)] == ["sign-noise@0.3"]
