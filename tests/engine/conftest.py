"""Fixtures of the engine's tests: a machine with two GPUs, as torch would tell of it, and a quick start for fits."""

import functools
import lzma
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def training_digits_are_unpacked_once() -> Iterator[None]:
    """All that one process fits takes the same bytes: unpacking them is the longest part of a short fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lzma, "decompress", functools.lru_cache(1)(lzma.decompress))
        yield


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
