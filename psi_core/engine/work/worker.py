"""A worker: the one loop that every run goes through, started by a shell, the app, torchrun or Slurm alike."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from psi_core.devices import Device
from psi_core.engine.devices import (
    available_device,
    cpu_threads,
    current_device,
    describe_device,
    device_note,
    is_out_of_memory,
    peak_memory,
    words_of,
    worker_device,
)
from psi_core.engine.gradient_check import AMONG, engine_evidence
from psi_core.engine.images import copies_among
from psi_core.engine.kernels import sums_on
from psi_core.engine.models.checkpoints import find_checkpoint
from psi_core.engine.models.fitting import FitInterruptedError, ensure_fitted
from psi_core.engine.precision import precision
from psi_core.engine.preparation import Prepared, prepare
from psi_core.engine.work.beginnings import (
    first_logits,
    picture_digests,
    require_same_logits,
    require_same_pictures,
)
from psi_core.engine.work.chunk_maker import ChunkMaker, LeftEarlyError, make_chunk_maker
from psi_core.engine.work.chunk_writer import ChunkWriter
from psi_core.engine.work.open_chunk import OpenChunk
from psi_core.errors import DataError, PsiError, RunError
from psi_core.runs.chunks import (
    CHUNKS,
    Arrays,
    chunk_path,
    chunk_range,
    owner_of,
    set_chunk_aside,
    share_of,
    write_arrays,
)
from psi_core.runs.creation import record_model
from psi_core.runs.event_log import EventLog, EventReader, events_path, preview_path
from psi_core.runs.events import (
    COPIES_NAMED,
    BatchDone,
    Failed,
    Finished,
    FitAdvanced,
    Heartbeat,
    PhaseBegan,
    PrecisionCompared,
    Started,
    Stopped,
    Warned,
)
from psi_core.runs.loading import CONFIG_DIGEST, LOGITS
from psi_core.runs.processes import HEARTBEAT_SECONDS, STALE_SECONDS, beating, own_identity
from psi_core.runs.run import Run
from psi_core.runs.seals import sealed
from psi_core.runs.status import STOP_FILE, StatusReader, WorkerState
from psi_core.runs.trust import require_trusted


class ShareProgress:
    """Images of this worker's share: done before it started, done since, and how fast."""

    def __init__(self, run: Run, number: int, workers: int, finished: list[int]) -> None:
        self.chunk_images = run.config.chunk
        share = share_of(number, workers, run.chunks)
        sizes = {chunk: len(chunk_range(chunk, run.images, self.chunk_images)) for chunk in share}
        self.total = sum(sizes.values())
        self._before = sum(sizes[chunk] for chunk in share if chunk in set(finished))
        self._finished = 0
        self.open = 0
        self._started = time.monotonic()

    @property
    def is_complete(self) -> bool:
        """Whether every chunk of the share is written."""
        return self.open == 0 and self.done == self.total

    @property
    def done(self) -> int:
        """Processed images of the share, those of the open chunk included."""
        return self._before + self._finished + self.open

    @property
    def images_per_second(self) -> float:
        """Mean speed since this worker began."""
        return (self._finished + self.open) / max(1e-9, time.monotonic() - self._started)

    def advance(self, images: int) -> None:
        """Records that so many images of the open chunk are processed."""
        self.open = images

    def finish(self, images: int) -> None:
        """Records that a chunk of so many images is written."""
        self._finished, self.open = self._finished + images, 0
        self.total = max(self.total, self.done)


def _difference(first: Started, own: Started) -> str:
    """Why this worker rounds otherwise than the one that began the run, in half a sentence; empty where it does not."""
    if first.device_name != own.device_name:
        return f"the run began on {first.device_name}, this is {own.device_name}"
    if first.sums != own.sums:
        ways = {"kernels": "kernels of the engine's own", "torch": "torch", None: "an older version"}
        return f"the layers of the run were summed by {ways.get(first.sums, first.sums)}, now by {ways.get(own.sums)}"
    return ""


_PREVIEW_SECONDS = 1.0
_FREE_RANK_POLL_SECONDS = 0.2


class StopRequests:
    """Requests from outside: finish the chunk, or leave after the batch."""

    def __init__(self, directory: Path) -> None:
        self._stop_file = directory / STOP_FILE
        self.finish_chunk = False
        self.leave_now = False

    @property
    def should_finish(self) -> bool:
        """Whether no further chunk is to be begun."""
        return self.finish_chunk or self.leave_now or self._stop_file.exists()


class Worker:
    """One worker of a run.

    Args:
        directory: the run directory.
        number: its rank, from 0.
        workers: how many share the run.
        prepared: the checked run, if the caller has it already.
        local: its rank among those on this machine; selects the device; default: `number`.
    """

    def __init__(
        self,
        directory: Path,
        number: int = 0,
        workers: int = 1,
        prepared: Prepared | None = None,
        local: int | None = None,
    ) -> None:
        self.run = Run(directory)
        self.number = number
        self.workers = workers
        self.orders = StopRequests(directory)
        self.log = EventLog(events_path(directory, number))
        self._prepared = prepared
        self._local = number if local is None else local
        self._preview_written = 0.0

    def work(self) -> str:
        """Makes chunks until none is left for this worker.

        Returns:
            `finished`, or `left` if it was asked to leave before.

        Raises:
            PsiError: the run cannot go on; an event says so.
            RunError: another worker of that rank is at work.
        """
        self._require_free_rank()
        (self.run.directory / CHUNKS).mkdir(exist_ok=True)  # Somebody may have removed it.
        earlier = self._first_start()
        first = available_device(self.run.config.device)
        device = worker_device(first, self._local)
        started = self._start(device)
        if note := device_note(self.run.config.device, first):
            self.log.write(Warned(note))
        if earlier is not None and (text := _difference(earlier, started)):
            self.log.write(Warned(f"{text}; new chunks agree within rounding only"))
        with self._heartbeat():
            try:
                outcome = self._work(device)
            except BaseException as error:
                self._tell_failure(error)
                raise
            self.log.write(Finished() if outcome == "finished" else Stopped())
        return outcome

    def _start(self, device: Device) -> Started:
        """Writes that this worker begins, and on what; where the device does not answer, that it failed."""
        started = Started(**own_identity(), device=device, worker=self.number, workers=self.workers, run=self.run.id)
        try:
            started = replace(started, **describe_device(device), sums=sums_on(device))
        except BaseException as error:
            self.log.write(started)
            if is_out_of_memory(error):
                error = RunError(
                    f"memory: {device} has none left ({words_of(error)}); free some of it, or write another --device"
                )
            self._tell_failure(error)
            raise error
        self.log.write(started)
        return started

    def _tell_failure(self, error: BaseException) -> None:
        self.log.write(Failed(str(error) or type(error).__name__, type(error).__name__))

    def _work(self, device: Device) -> str:
        self.log.write(PhaseBegan("load"))
        self.run.require_unchanged()
        with cpu_threads(self.run.config.threads), current_device(device):
            if self._prepared is None:
                require_trusted(self.run)
            config = self.run.config
            prepared = self._prepared or prepare(config.asked(device=device, devices=1), config.memory_format)
            if not np.array_equal(prepared.positions, self.run.positions):
                raise RunError(
                    "data: the images are others than those that the run began with, so that its sample would be "
                    "another; put the old ones back, or start a new run"
                )
            for note in prepared.notes:
                self.log.write(Warned(note))
            try:
                prepared = self._with_weights(prepared, device)
            except FitInterruptedError:
                return "left"
            prepared = prepared.with_axes_of(self.run.layer_infos)
            if prepared.layers != self.run.layer_infos:
                raise RunError("layers: the model no longer has the layers that the run began with; start a new run")
            prepared.classifier.move_to(device)
            maker = make_chunk_maker(self.run.config, prepared, device)
            self._require_beginnings(maker, prepared, device)
            if self.run.config.compile:
                self._compile(maker, device)
            self.log.write(PhaseBegan("run"))
            self._report_precision(maker)
            self._report_evidence(maker, device)
            try:
                with precision(self.run.config.precision, device):
                    return self._make_chunks(maker)
            finally:
                maker.leave()

    def _require_beginnings(self, maker: ChunkMaker, prepared: Prepared, device: Device) -> None:
        """Writes down what the run begins with, or refuses to go on with other weights, code or images."""
        policy = self.run.config.precision
        with precision(policy, device):
            logits = first_logits(maker, self.run, device)
        card = {**prepared.card, CONFIG_DIGEST: self.run.fingerprint}
        record_model(self.run.directory, card if logits is None else {**card, LOGITS: logits})
        self._set_wrong_chunks_aside()
        require_same_pictures(self.run, maker.sources)
        require_same_logits(self.run.model.get(LOGITS), logits, policy)

    def _compile(self, maker: ChunkMaker, device: Device) -> None:
        self.log.write(PhaseBegan("compile"))
        with precision(self.run.config.precision, device), contextlib.suppress(DataError):
            # An image that cannot be read is reported when its chunk is made.
            maker.warm_up(self.run.positions)

    def _with_weights(self, prepared: Prepared, device: Device) -> Prepared:
        """The prepared run with fitted weights in place, fitted now unless they are cached."""
        if self.run.config.weights != "fitted":
            return prepared
        checkpoint = find_checkpoint(prepared.recipe)
        if checkpoint is None:
            self.log.write(PhaseBegan("fit"))
            checkpoint = ensure_fitted(prepared.recipe, device, self._report_fit, lambda: self.orders.should_finish)
        return prepared.with_checkpoint(checkpoint)

    def _first_start(self) -> Started | None:
        """How the first worker of the run began, or None if this is the beginning."""
        states = StatusReader(self.run.directory).poll()
        started = [event for state in states if (event := self._start_of(state)) is not None]
        return min(started, key=lambda event: event.time, default=None)

    def _start_of(self, state: WorkerState) -> Started | None:
        """How a worker began that got a device: its last start, or if that got none, its first one that did."""
        if state.started is None or state.started.torch is not None:
            return state.started
        events = EventReader(events_path(self.run.directory, state.number)).events()
        return next((each for each in events if isinstance(each, Started) and each.torch is not None), None)

    def _report_precision(self, maker: ChunkMaker) -> None:
        policy = self.run.config.precision
        if policy != "exact":
            share = maker.sign_agreement(policy, self.run.positions)
            self.log.write(PrecisionCompared(policy, None if math.isnan(share) else round(share, 6)))

    def _report_evidence(self, maker: ChunkMaker, device: Device) -> None:
        """Evidence about gradient and network, written by worker 0 alone."""
        if self.number or self.orders.should_finish:
            return
        first, copies = None, None
        with contextlib.suppress(PsiError):  # An image that cannot be read is reported when its chunk is made.
            first = maker.first_images(self.run.positions[:AMONG])
            copies = copies_among(maker.dataset, self.run.positions)
        if first is not None:
            found = engine_evidence(maker.plan, first, self.run.config.precision, device)
            if copies is not None:
                named = tuple(copies[:COPIES_NAMED].tolist())
                found = replace(found, copies=len(copies), copy_positions=named or None)
            self.log.write(found)

    def _report_fit(self, event: FitAdvanced | Warned) -> None:
        if isinstance(event, FitAdvanced):
            self.log.progress(event, is_last=event.done == event.total)
        else:
            self.log.write(event)

    def _set_wrong_chunks_aside(self) -> None:
        """Takes chunks of the share that are damaged or not this run's out of the way, so that they are made again."""
        finished = set(self.run.finished_chunks)
        for number in self._share:
            if number in finished and (reason := self.run.wrong_chunk(number)):
                aside = set_chunk_aside(self.run.directory, number)
                self.log.write(Warned(f"{reason}; it is {aside.name} now, and is made again", chunks=(number,)))

    def _make_chunks(self, maker: ChunkMaker) -> str:
        progress = ShareProgress(self.run, self.number, self.workers, self.run.finished_chunks)
        with ChunkWriter(self.run.directory, self.number, self.run.origin) as writer:
            for number in self._next_chunks(writer):
                if self.orders.should_finish:
                    return "left"
                try:
                    arrays = self._make_chunk(maker, number, progress)
                    writer.write(number, arrays, partial(picture_digests, maker.sources, arrays["index"]))
                except LeftEarlyError:
                    return "left"
                images = len(self.run.chunk_positions(number))
                self._report_skipped(maker, number, images)
                progress.finish(images)
                if progress.is_complete:
                    writer.wait()
                # Which chunks came of smaller batches is asked when they are computed again.
                self._report_batch(maker, progress, number, is_due=maker.batch < self.run.config.batch)
        return "finished"

    def _make_chunk(self, maker: ChunkMaker, number: int, progress: ShareProgress) -> Arrays:
        """A chunk's arrays; reports progress on the way."""

        def after_batch(chunk: OpenChunk) -> None:
            self._after_batch(maker, chunk, number, progress)

        def out_of_memory(before: int, after: int) -> None:
            text = f"out of memory: batch {before} -> {after} from chunk {number} on; it agrees within rounding only"
            self.log.write(Warned(text, chunks=(number,), batch=after))

        later = (each for each in self._share if each > number)
        following = next((each for each in later if not chunk_path(self.run.directory, each).exists()), None)
        expected = None if following is None else self.run.chunk_positions(following)
        return maker.make(self.run.chunk_positions(number), after_batch, out_of_memory, expected)

    @property
    def _share(self) -> range:
        return share_of(self.number, self.workers, self.run.chunks)

    def _next_chunks(self, writer: ChunkWriter) -> Iterator[int]:
        """Missing chunks of the own share, then missing ones whose owner is dead."""
        for number in self._share:
            if not chunk_path(self.run.directory, number).exists():
                yield number
        tried: set[int] = set()
        while True:
            writer.wait()  # What is still being written would count as missing.
            missing = [number for number in self.run.missing_chunks if number not in tried]
            alive = {worker.number for worker in StatusReader(self.run.directory).poll() if worker.is_alive}
            orphans = [number for number in missing if owner_of(number, self.workers) not in alive - {self.number}]
            if not orphans:
                return
            tried.add(orphans[0])
            yield orphans[0]

    def _after_batch(self, maker: ChunkMaker, chunk: OpenChunk, number: int, progress: ShareProgress) -> None:
        now = time.monotonic()
        if now - self._preview_written >= _PREVIEW_SECONDS and chunk.done < len(chunk.positions):
            self._preview_written = now
            with contextlib.suppress(OSError, RunError):  # Only a look ahead; the chunk itself reports what is wrong.
                open_arrays = sealed(chunk.arrays(), self.run.origin, number)
                write_arrays(preview_path(self.run.directory, self.number), open_arrays)
        progress.advance(chunk.done)
        self._report_batch(maker, progress, number)
        if self.orders.leave_now:
            raise LeftEarlyError

    def _report_skipped(self, maker: ChunkMaker, number: int, images: int) -> None:
        skipped, maker.skipped = maker.skipped, []
        if skipped:
            first = f"{skipped[0].place} ({skipped[0].reason})"
            text = f"left out {len(skipped)} of {images} images of chunk {number} that cannot be read, such as {first}"
            self.log.write(Warned(text, chunks=(number,), images=tuple(each.position for each in skipped)))

    def _report_batch(self, maker: ChunkMaker, progress: ShareProgress, number: int, *, is_due: bool = False) -> None:
        seconds = {stage: round(value, 3) for stage, value in asdict(maker.seconds).items()}
        event = BatchDone(
            progress.done,
            progress.total,
            chunk=number,
            open=progress.open,
            images_per_second=round(progress.images_per_second, 3),
            batch=maker.batch,
            memory=peak_memory(maker.device),
            seconds=seconds,
        )
        self.log.progress(event, is_last=is_due or progress.is_complete)

    def _require_free_rank(self) -> None:
        """Refuses to work beside a living worker of this rank; one that was just killed is waited for.

        A process that was killed, or ran on another machine, counts as alive until its heartbeat is stale; its log no
        longer grows.
        """
        reader = StatusReader(self.run.directory)
        deadline = time.monotonic() + STALE_SECONDS + HEARTBEAT_SECONDS
        first_written = None
        while any(worker.number == self.number and worker.is_alive for worker in reader.poll()):
            written = self.log.path.stat().st_size
            first_written = written if first_written is None else first_written
            if written != first_written or self.orders.should_finish or time.monotonic() > deadline:
                raise RunError(f"{self.run.name}: worker {self.number} is at work already; watch it, or stop it first")
            time.sleep(_FREE_RANK_POLL_SECONDS)

    @contextlib.contextmanager
    def _heartbeat(self) -> Iterator[None]:
        with beating(lambda: self.log.write(Heartbeat()), HEARTBEAT_SECONDS):
            yield
