"""No damage to a run directory ends a reading command in a traceback, hangs it, or takes a gigabyte."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.mutations import mutate
from tests.recorded import record_run
from tests.tui.apps import running, text_of, until


def problems(folder: Path, first: int, count: int) -> list[str]:
    """What went wrong while the runs of these seeds were read."""
    command = [sys.executable, "-m", "tests.tui.mutation_reader", str(folder), "10", str(first), str(count)]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=here)
    assert told.returncode == 0, told.stderr[-2000:]
    found = map(json.loads, told.stdout.splitlines())
    return [f"seed {each['seed']}, {each['what']}, {each['how']}: {each['wrong'][-300:]}" for each in found]


def test_thirty_kinds_of_damage(tmp_path):
    assert problems(tmp_path, 0, 15) == []


@pytest.mark.long
@pytest.mark.parametrize("first", range(15, 255, 40))
def test_all_others(tmp_path, first):
    assert problems(tmp_path, first, 40) == []


async def test_the_app_lists_what_it_can_of_damaged_runs_and_goes_on(own_folders):
    pristine = record_run(own_folders.parent / "pristine")
    record_run(own_folders, name="whole")
    for seed in range(30):
        directory = own_folders / f"{pristine.name}-{seed}"
        shutil.copytree(pristine, directory)
        mutate(directory, seed)
    async with running(own_folders) as (app, pilot):
        await until(pilot, lambda: app.entries is not None and len(app.entries) > 25, "the list")
        assert any(entry.name == "whole" for entry in app.entries)
        broken = [entry for entry in app.entries if entry.progress.status == "damaged"]
        assert broken
        assert all(entry.trouble for entry in broken)
        await until(pilot, lambda: "damaged" in text_of(app), "a damaged one")
        await pilot.press("down", "down", "down", "r", "x")
        assert app.is_running
