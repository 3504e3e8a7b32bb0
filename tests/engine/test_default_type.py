"""Whatever type a notebook has made torch's default, the engine computes in its own: the same bits."""

import pytest
import torch
from torch import nn

from psi_core.conditions import ATTACK_NAMES, ATTACKS
from psi_core.engine import SparsenessMeter, analyze, attack
from psi_core.engine.images import network_inputs
from psi_core.measures import MEASURE_NAMES, MEASURES
from tests.engine.networks import Functional, images_of, seeded
from tests.engine.processes import assert_same_results, events, small_config

EVERY = {
    "attack": [row.name for row in ATTACKS if not row.is_control],
    "controls": [row.name for row in ATTACKS if row.is_control],
    "measures": MEASURE_NAMES,
    "images": 10,
    "batch": 4,
    "steps": 2,
}
OTHERWISE = {
    "layers": "all",
    "rectify": "abs",
    "unit": "channel",
    "labels": "predicted",
    "loss": "cross-entropy",
    "target": "random",
    "restarts": 2,
    "precision": "bf16",
}


@pytest.fixture
def in_both():
    """Calls something under torch's own default type and under float64."""

    def both(call):
        before = torch.get_default_dtype()
        for kind in (before, torch.float64):
            torch.set_default_dtype(kind)
            try:
                yield call()
                assert torch.get_default_dtype() == kind
            finally:
                torch.set_default_dtype(before)

    return lambda call: [*both(call)]


OWN = """
import torch
from torch import nn

SHIFT = torch.tensor([0.1])

class Own(nn.Module):
    input_size = (3, 12, 12)

    def __init__(self):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.ones(1) / 3)
        self.register_buffer("shift", SHIFT + torch.linspace(0, 1, 4).view(1, 4, 1, 1))
        self.head = nn.Linear(400, 10)

    def forward(self, images):
        return self.head((self.conv(images).relu() * self.scale + self.shift).flatten(1))
"""


@pytest.mark.parametrize("options", [{}, OTHERWISE, {"model": "own.py:Own"}], ids=["every", "otherwise", "own"])
def test_a_run_is_the_same(options, in_both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    options = {**EVERY, **options}
    if "model" in options:
        options |= {"weights": "built", "size": 12}
    usual, other = (run.directory for run in in_both(lambda: analyze(small_config(**options), tmp_path / "runs")))
    assert_same_results(other, usual)
    found, expected = (
        [{**event, "time": 0, "seconds": 0} for event in events(each) if event["event"] in ("evidence", "warning")]
        for each in (other, usual)
    )
    assert found == expected


@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_an_attack_is_the_same(name, in_both):
    network, images, labels = seeded(Functional).eval(), images_of(6), torch.arange(6) % 3
    usual, other = in_both(lambda: attack(network, images, labels, name, 0.1, steps=2, restarts=2))
    assert other.dtype == usual.dtype
    assert torch.equal(other, usual)


@pytest.mark.parametrize(
    "options",
    [{"measures": MEASURE_NAMES}, {"unit": "channel"}, {"unit": "token"}, {"rectify": "abs", "layers": ["0"]}],
    ids=str,
)
def test_a_meter_measures_the_same(options, in_both):
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()))
    images = images_of(6)

    def measured():
        with SparsenessMeter(network, **options) as meter:
            network(images)
        names = options.get("measures") or [row.name for row in MEASURES.values() if not row.costs_a_pass]
        return {name: meter.measure(name) for name in names}

    usual, other = in_both(measured)
    for name, layers in usual.items():
        for layer, values in layers.items():
            torch.testing.assert_close(other[name][layer], values, rtol=0, atol=0, equal_nan=True)


def test_colors_become_the_same_grays(in_both):
    pixels = (255 * images_of(4, 3)).to(torch.uint8).permute(0, 2, 3, 1)
    usual, other = in_both(lambda: network_inputs(pixels, 12, 1))
    assert other.dtype == usual.dtype == torch.float32
    assert torch.equal(other, usual)
