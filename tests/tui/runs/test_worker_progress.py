"""How far each of several workers is: the shares add up, and who is dead is told by word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Failed, Finished, FitAdvanced, PhaseBegan, Stopped
from psi_core.runs.run import Run
from psi_tui.runs.progress import PHASE_WORDS, PHASES, most_urgent
from psi_tui.runs.run_list import RunList, status_words
from tests.core.living import Worker
from tests.recorded import record_run
from tests.tui.worker_runs import ELSEWHERE, many, progress, record_workers, say

STATES = ("waiting", "running", "helping", "finished", "left", "failed", "lost")


@pytest.fixture(scope="module")
def dead():
    worker = Worker()
    worker.bury()
    return worker.identity


def states(directory):
    return [worker.state for worker in progress(directory).workers]


def test_one_worker_has_no_line_of_its_own(own_folders):
    directory = record_run(own_folders, chunks=[0], finished=False, identity={**ELSEWHERE, "workers": 1})
    say(directory, 0, done=30, total=60, chunk=1, open=5)
    now = progress(directory)
    assert (now.workers, now.done, now.total) == ((), 30, 60)


def test_one_worker_may_still_be_writing_what_it_counts(own_folders):
    directory = record_run(own_folders, chunks=[], finished=False, identity=ELSEWHERE)
    say(directory, 0, done=30, total=60, chunk=1, open=5)
    assert progress(directory).done == 30


@pytest.mark.parametrize("end", [(), (Stopped(),), (Failed("chunk 0: No space left on device"),)])
@pytest.mark.parametrize(("chunks", "there"), [([], 0), ([0], 25), ([0, 2], 35)])
def test_once_the_only_worker_is_gone_finished_chunks_alone_count(own_folders, dead, end, chunks, there):
    directory = record_run(own_folders, chunks=chunks, finished=False, identity=dead)
    say(directory, 0, *end, done=52, total=60, chunk=1, open=7)
    assert (progress(directory).done, Run(directory).images_done) == (there, there)
    (entry,) = [entry for entry in RunList(own_folders).poll() if not entry.is_example]
    assert status_words(entry) == f"{entry.progress.status} {100 * there // 60} %"


@pytest.mark.parametrize("workers", [2, 5, 7, 13])
def test_shares_add_up_to_the_run(own_folders, workers):
    directory = record_workers(own_folders, workers=workers, chunks=[0, 1, 6], images=58)
    say(directory, 0, done=8, total=15, chunk=workers, open=3)
    say(directory, 1, identity=ELSEWHERE, workers=workers, done=5, total=15, chunk=1, open=0)
    now = progress(directory)
    assert len(now.workers) == workers
    assert sum(worker.total for worker in now.workers) == now.total == 58
    assert sum(worker.done for worker in now.workers) == now.done == 18


def test_a_chunk_that_is_written_is_not_counted_as_open_too(own_folders):
    directory = record_workers(own_folders, workers=2, chunks=[0])
    say(directory, 0, done=4, total=30, chunk=0, open=4)
    assert [worker.done for worker in progress(directory).workers] == [5, 0]


def test_who_has_not_started_waits(own_folders):
    directory = record_workers(own_folders, workers=4, chunks=[])
    say(directory, 1, identity=ELSEWHERE, workers=4)
    now = progress(directory)
    assert [(worker.state, worker.phase) for worker in now.workers[:2]] == [("running", "load")] * 2
    assert states(directory)[2:] == ["waiting", "waiting"]


def test_each_end_has_its_name(own_folders, dead):
    directory = record_workers(own_folders, workers=5, chunks=[])
    say(directory, 1, identity=dead, workers=5, done=3, total=10, chunk=1, open=3)
    for number, word in ((2, Failed()), (3, Stopped()), (4, Finished())):
        say(directory, number, word, identity=dead, workers=5)
    assert states(directory) == ["running", "lost", "failed", "left", "finished"]
    assert [worker.is_broken for worker in progress(directory).workers] == [False, True, True, False, False]


def test_what_a_dead_worker_had_open_is_made_anew_and_does_not_count(own_folders, dead):
    directory = record_workers(own_folders, workers=2, chunks=[1])
    say(directory, 1, identity=dead, workers=2, done=8, total=30, chunk=3, open=3)
    lost = progress(directory).workers[1]
    assert (lost.state, lost.done, lost.images_per_second, lost.seconds_left) == ("lost", 5, None, None)


def test_who_makes_anothers_chunks_helps_and_fills_the_others_share(own_folders, dead):
    directory = record_workers(own_folders, workers=2, chunks=[0, 2, 4, 6, 8, 10, 1])
    say(directory, 1, identity=dead, workers=2)
    say(directory, 0, done=37, total=37, chunk=3, open=2)
    helper, lost = progress(directory).workers
    assert (helper.state, helper.done, helper.total, helper.seconds_left) == ("helping", 30, 30, None)
    assert (lost.state, lost.done, lost.total) == ("lost", 7, 30)
    assert progress(directory).done == 37


def test_workers_of_an_earlier_start_with_more_of_them_are_forgotten(own_folders, dead):
    directory = record_workers(own_folders, workers=4, chunks=[0, 1], identity=dead)
    for number in (1, 2, 3):
        say(directory, number, identity=dead, workers=4, done=4, total=15, chunk=number, open=4)
    say(directory, 0, identity=ELSEWHERE, workers=2, done=5, total=30, chunk=2, open=0)
    assert [(worker.state, worker.done) for worker in progress(directory).workers] == [("running", 5), ("waiting", 5)]
    assert progress(directory).done == 10


def test_a_share_takes_its_images_over_its_rate(own_folders):
    directory = record_workers(own_folders, workers=2, chunks=[0])
    say(directory, 0, done=5, total=30, chunk=0, open=0, images_per_second=5.0)
    assert progress(directory).workers[0].seconds_left == 5


def test_the_farthest_phase_counts_and_compiling_lies_before_measuring(own_folders):
    assert PHASES == ("load", "fit", "compile", "run")
    assert PHASE_WORDS["compile"] == "compiling"
    directory = record_workers(own_folders, workers=2, chunks=[])
    EventLog(events_path(directory, 0)).write(PhaseBegan(phase="compile"))
    now = progress(directory)
    assert (now.phase, now.total, now.workers[0].phase) == ("compile", 0, "compile")


def test_a_run_that_failed_after_its_fit_has_measured_nothing(own_folders):
    directory = record_run(own_folders, chunks=[], finished=False)
    log = EventLog(events_path(directory, 0))
    for event in (PhaseBegan(phase="fit"), FitAdvanced(done=90, total=90), Failed("data: a disk stalls; look at it")):
        log.write(event)
    now = progress(directory)
    assert (now.status, now.phase, now.done, now.total) == ("failed", "fit", 0, 60)


@given(st.lists(st.tuples(st.sampled_from(STATES), st.integers(0, 100)), min_size=1, max_size=30), st.integers(0, 30))
def test_the_chosen_are_the_broken_and_then_the_least_advanced(facts, room):
    workers = many(*facts, total=100)
    chosen = most_urgent(workers, room)
    assert len(chosen) == min(room, len(workers))
    left_out = [worker for worker in workers if worker not in chosen]
    for worker in left_out:
        for other in chosen:
            assert other.is_broken or not worker.is_broken
            assert other.is_broken or int(other.share_done * 10) <= int(worker.share_done * 10)
    if left_out:
        assert [worker.is_broken for worker in chosen] == sorted((worker.is_broken for worker in chosen), reverse=True)
