"""`psi-tui verify`: a table, JSON, an exit code; and chunks that are computed again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from psi_core.engine import analyze
from psi_core.engine.measure.step import FusedStep
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.recompute import recompute
from psi_core.errors import RunError
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.runs.event_log import EventLog, EventReader, events_path
from psi_core.runs.events import Started
from psi_core.runs.run import Run
from tests.engine.processes import small_config
from tests.recorded import make_older, record_run, rewrite_chunk


@pytest.fixture
def finished(own_folders):
    return analyze(small_config(images=40), own_folders).directory


def test_a_run_is_right_until_a_chunk_is_not(psi, own_folders):
    directory = record_run(own_folders, name="mine")
    told = psi("verify", "mine")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[-1] == "mine: right"
    chunk_path(directory, 1).write_bytes(chunk_path(directory, 0).read_bytes())
    told = psi("verify", "mine")
    assert told.code == 1
    assert "1 of 3 wrong" in told.out
    assert "it is chunk 0" in told.out
    assert told.out.splitlines()[-1] == "mine: wrong"
    told = json.loads(psi("verify", "mine", "--json").out)
    assert (told["run"], told["right"]) == (directory.name, False)
    assert {part["name"]: part["verdict"] for part in told["parts"]}["chunks"] == "wrong"


def test_an_older_run_is_not_wrong(psi, own_folders):
    make_older(record_run(own_folders, name="mine"))
    told = psi("verify", "mine")
    assert told.code == 0
    assert "without digests" in told.out


def test_an_example_is_right_and_cannot_be_computed_again_without_its_weights(psi):
    told = psi("verify", "example-alexnet")
    assert (told.code, told.out.splitlines()[-1]) == (0, "example-alexnet: right")
    again = psi("verify", "example-alexnet", "--recompute", "1")
    last = again.out.splitlines()[-1]
    assert again.code == 0
    assert last.endswith(": nothing wrong was found, and what was to be computed again was not checked")
    parts = json.loads(psi("verify", "example-alexnet", "--recompute", "1", "--json").out)
    assert parts["right"]
    assert {part["name"]: part["verdict"] for part in parts["parts"]}["computed again"] == "not checked"


def test_chunks_come_out_again_bit_by_bit(psi, finished):
    told = psi("verify", finished.name, "--recompute", 2, "--json")
    assert told.code == 0, told.out + told.err
    again = [part for part in json.loads(told.out)["parts"] if part["name"].endswith("again")]
    assert len(again) == 2
    assert all(part["verdict"] == "right" and "the same bits in all" in part["words"] for part in again)


def test_one_bit_that_a_digest_vouches_for_does_not_come_out_again(finished):
    arrays = {name: array.copy() for name, array in read_arrays(chunk_path(finished, 1)).items()}
    arrays["psi"].view(np.uint32)[0, 0, 0] ^= 1
    rewrite_chunk(finished, 1, arrays)
    right, wrong = recompute(Run(finished), [0, 1])
    assert (right.verdict, wrong.verdict) == ("right", "wrong")
    assert "other bits in psi" in wrong.words
    (again,) = recompute(Run(finished), [1])
    assert again == wrong


def test_on_another_device_it_says_within_what_they_agree(finished):
    log = events_path(finished, 0)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [{**line, "device_name": "NVIDIA H200"} if line["event"] == "started" else line for line in lines]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = recompute(Run(finished), [0])
    assert found.verdict == "right"
    assert "made on NVIDIA H200" in found.words
    assert "benign PSI within 0.0e+00" in found.words
    arrays = {name: array.copy() for name, array in read_arrays(chunk_path(finished, 0)).items()}
    arrays["psi"] *= np.float32(0.99)
    rewrite_chunk(finished, 0, arrays)
    (found,) = recompute(Run(finished), [0])
    assert found.verdict == "wrong"


def test_what_cannot_be_computed_again_is_named_and_not_called_right(psi, own_folders):
    record_run(own_folders, name="mine", weights="fitted", model="vgg11")
    told = psi("verify", "mine", "--recompute", 1)
    assert told.code == 0
    assert "not checked" in told.out.splitlines()[-1]
    assert "right" not in told.out.splitlines()[-1]


def test_chunks_that_do_not_come_out_again_are_wrong(psi, finished):
    arrays = {name: array.copy() for name, array in read_arrays(chunk_path(finished, 0)).items()}
    arrays["psi"].view(np.uint32)[0, 0, 0] ^= 1
    rewrite_chunk(finished, 0, arrays)
    told = psi("verify", finished.name, "--recompute", 9)
    assert told.code == 1
    assert told.out.splitlines()[-1] == f"{finished.name}: wrong"


def test_a_run_that_went_on_elsewhere_is_held_to_rounding(finished):
    (begun,) = [event for event in EventReader(events_path(finished, 0)).poll() if isinstance(event, Started)]
    elsewhere = replace(begun, device_name="another GPU", worker=1)
    EventLog(events_path(finished, 1)).write(elsewhere)
    (found,) = recompute(Run(finished), [0])
    assert found.verdict == "right"
    assert "made on another GPU" in found.words
    assert "bits are compared only on the device that made them" in found.words


def a_little_otherwise(monkeypatch, fitting=4):
    """A step that takes few images and rounds otherwise where it gets fewer."""
    usual = FusedStep.__call__

    def step(itself, images, *others):
        if len(images) > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        result = usual(itself, images, *others)
        return replace(result, values=result.values * (1 + 2.0**-22))

    monkeypatch.setattr(FusedStep, "__call__", step)


def test_where_memory_runs_out_chunks_are_held_to_rounding(finished, monkeypatch):
    a_little_otherwise(monkeypatch)
    for found in recompute(Run(finished), [0, 1]):
        assert found.verdict == "right", found
        assert "once in smaller batches, since memory ran out: benign PSI within" in found.words
        assert "100.0 % of the predictions the same; bits are compared only in batches of one size" in found.words
    arrays = {name: array.copy() for name, array in read_arrays(chunk_path(finished, 0)).items()}
    arrays["psi"] *= np.float32(0.99)
    rewrite_chunk(finished, 0, arrays)
    assert [found.verdict for found in recompute(Run(finished), [0])] == ["wrong"]


def test_chunks_made_after_memory_ran_out_are_held_to_rounding(own_folders, monkeypatch):
    """Chunks 0 to 2; memory runs out in chunk 1."""
    with monkeypatch.context() as patch:
        run_batch = FusedStep.__call__

        def full_from_chunk_1_on(step, images, labels, indices, external=None):
            if indices[0] >= 14 and len(images) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return run_batch(step, images, labels, indices, external)

        patch.setattr(FusedStep, "__call__", full_from_chunk_1_on)
        directory = analyze(small_config(images=40, order="first"), own_folders).directory
    before, *after = recompute(Run(directory), [0, 1, 2])
    assert "the same bits" in before.words
    for found in after:
        assert found.verdict == "right"
        assert "once in smaller batches" in found.words


def test_what_memory_does_not_let_compute_is_not_checked(finished, monkeypatch):
    a_little_otherwise(monkeypatch, fitting=0)
    assert [found.verdict for found in recompute(Run(finished), [0])] == ["not checked"]

    def full(classifier, device):
        raise RunError(f"memory: the network's weights alone do not fit on {device}")

    monkeypatch.setattr(Classifier, "move_to", full)
    (found,) = recompute(Run(finished), [0])
    assert (found.verdict, found.words) == ("not checked", "memory: the network's weights alone do not fit on cpu")


def test_a_start_that_never_had_a_device_made_no_chunk(finished):
    (begun,) = [event for event in EventReader(events_path(finished, 0)).poll() if isinstance(event, Started)]
    EventLog(events_path(finished, 1)).write(replace(begun, device_name=None, torch=None, worker=1))
    (found,) = recompute(Run(finished), [0])
    assert "the same bits" in found.words
