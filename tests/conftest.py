"""Fixtures shared by all tests: every test has runs and cache folders of its own."""

import os
from pathlib import Path

import pytest

# Processes that share few cores must not spin for each other; children of the tests inherit this.
for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(library, "1")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs and caches go below the test's own folder, never into the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PSI_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"
