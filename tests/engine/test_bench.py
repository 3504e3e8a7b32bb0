"""The bench: engine and floor timed in one process, on real images."""

import pytest

from psi_core.config import RunConfig
from psi_core.engine.bench import bench_row


def test_both_are_timed_and_compared() -> None:
    row = bench_row(RunConfig(batch=8, threads=1), rounds=1)
    assert (row["model"], row["images"], row["conditions"]) == ("lenet5", 16, 4)
    assert row["engine_images_per_second"] > 0
    assert row["ratio"] == pytest.approx(row["engine_images_per_second"] / row["floor_images_per_second"])
