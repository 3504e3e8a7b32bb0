"""A real network under real noise: a second draw of it is no more than noise, the attack is more."""

from psi_core.config import RunConfig
from psi_core.engine import analyze
from psi_core.tables import table_rows

QUIET = ("no more than noise", "no change")


def test_a_second_draw_of_noise_is_no_more_than_noise_and_fgsm_is(own_folders):
    run = analyze(RunConfig(epsilon="0.2", controls="sign-noise,sign-noise-2", images=600, chunk=200))
    said = {(row["condition"], row["layer"]): row["verdict"] for row in table_rows(run, "layers")}
    for noise in ("sign-noise@0.2", "sign-noise-2@0.2"):
        assert sum(said[noise, layer] in QUIET for layer in run.layers) >= 3
    assert sum(said["fgsm@0.2", layer] not in QUIET for layer in run.layers) >= 2
