"""A real network under real noise: a second draw of it is like the first, the attack is beyond both."""

from psi_core.config import RunConfig
from psi_core.engine import analyze
from psi_core.tables.registry import table_rows

LOUD = ("beyond", "less", "depends")


def test_a_second_draw_of_noise_is_not_told_from_the_first_and_fgsm_is(own_folders):
    run = analyze(RunConfig(epsilon="0.2", controls="sign-noise,sign-noise-2", images=600, chunk=200))
    said = {(row["condition"], row["layer"]): row["verdict"] for row in table_rows(run, "layers")}
    for noise in ("sign-noise@0.2", "sign-noise-2@0.2"):
        assert sum(said[noise, layer].startswith(LOUD) for layer in run.layers) <= 1
    assert sum(said["fgsm@0.2", layer].startswith("beyond noise") for layer in run.layers) >= 2
