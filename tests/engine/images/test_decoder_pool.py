"""Processes that decode pictures: the same pixels as decoding here, whatever befalls a process or the worker."""

import hashlib
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psi_core.decoder import UNREADABLE, pixels_of, reason_of
from psi_core.engine.images import pictures
from psi_core.engine.images.pictures import DecoderPool
from psi_core.errors import DataError
from psi_core.runs import processes
from psi_core.runs.processes import Patience
from tests.engine.picture_files import DIGITS, colored
from tests.engine.processes import wait_until

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@pytest.fixture(scope="module")
def pool():
    made = DecoderPool(2)
    yield made
    pids = pids_of(made)
    made.close()
    assert not any(map(is_there, pids))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One picture of every kind, and some that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    gray, color = Image.fromarray(DIGITS.images[3]), Image.fromarray(colored(5))
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = np.random.default_rng(0).integers(0, 256, (40, 61, 3), np.uint8)
    kinds = {
        "gray.png": gray,
        **{f"{mode}.png": gray.convert(mode) for mode in ("1", "P", "LA", "RGBA")},
        "color.png": color,
        "cmyk.tif": color.convert("CMYK"),
        "deep.png": Image.fromarray(DIGITS.images[3].astype(np.uint16) * 257),
        "floats.tif": Image.fromarray(DIGITS.images[3].astype(np.float32)),
        "wide.jpg": Image.fromarray(wide),
        "strange\udcff\n名.png": color,
    }
    for name, image in kinds.items():
        image.save(folder / name)
    gray.save(folder / "turned.png", exif=turned)
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "color.png").read_bytes()[:80])
    return [*map(str, sorted(folder.iterdir())), str(folder / "missing.png")]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "resize", "keeps"), [(28, None, False), (28, 32, False), (28, 32, True)])
def test_pixels_and_reasons_are_those_of_decoding_here(pool, files, channels, size, resize, keeps):
    pixels, reasons = pool.decode(files, size, channels, resize, keeps_input_size=keeps)
    expected, why = [], []
    for file in files:
        try:
            with Image.open(file) as image:
                expected.append(pixels_of(image, size, channels, resize, keeps_input_size=keeps))
            why.append(None)
        except UNREADABLE as error:
            why.append(reason_of(error))
    assert reasons == why
    assert sum(reason is not None for reason in reasons) == 5
    assert np.array_equal(pixels, np.stack(expected))


def test_no_picture_at_all_is_an_empty_array(pool, files):
    pixels, reasons = pool.decode([], 28, 3, None, keeps_input_size=False)
    assert (pixels.shape, reasons) == ((0, 28, 28, 3), [])
    pixels, reasons = pool.decode(files[-1:] * 3, 28, 1, None, keeps_input_size=False)
    assert (pixels.shape, len(reasons)) == ((0, 28, 28), 3)


def numbered(folder, count):
    """Pictures that say which they are."""
    for number in range(count):
        Image.fromarray(np.full((28, 28), number, np.uint8)).save(folder / f"{number:03}.png")
    return [str(folder / f"{number:03}.png") for number in range(count)]


def decoded(pool, files):
    pixels, reasons = pool.decode(files, 28, 1, None, keeps_input_size=False)
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist(), reasons


@pytest.mark.parametrize("count", [1, 40])
def test_decoders_killed_while_idle_are_replaced(pool, tmp_path, count):
    files = numbered(tmp_path, count)
    decoded(pool, files)
    for pid in pids_of(pool):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not is_there(pid))
    assert decoded(pool, files) == (list(range(count)), [None] * count)


@pytest.mark.parametrize("count", [1, 20])
def test_decoders_killed_while_busy_are_replaced(pool, tmp_path, count):
    files = numbered(tmp_path, count)
    gate = tmp_path / "gate.png"  # Whoever opens it waits until somebody writes.
    os.mkfifo(gate)
    found = []
    asked = threading.Thread(target=lambda: found.append(decoded(pool, [*files[:-1], str(gate)])))
    asked.start()
    with gate.open("wb"):  # Waits until a decoder has it open.
        Path(files[-1]).replace(gate)
        pids = pids_of(pool)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_there, pids)), 20)
    asked.join(20)
    assert found == [(list(range(count)), [None] * count)]


def test_a_picture_that_ends_its_decoder_is_left_out_with_a_reason(tmp_path):
    files, deadly = numbered(tmp_path, 20), tmp_path / "deadly.png"
    deadly.touch()
    script = tmp_path / "mortal.py"
    script.write_text(
        "import os\nfrom psi_core import decoder\nopened = decoder.open_picture\n"
        "decoder.open_picture = lambda file: os.kill(os.getpid(), 11) if 'deadly' in file else opened(file)\n"
        "decoder.main()\n"
    )
    pool = DecoderPool(1)
    start = subprocess.Popen

    def start_mortal(_command, **options):
        return start([sys.executable, str(script)], **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures.subprocess, "Popen", start_mortal)
        values, reasons = decoded(pool, [*files[:9], str(deadly), *files[9:]])
        alone = decoded(pool, [str(deadly)])
    pool.close()
    assert values == list(range(20))
    assert reasons == [None] * 9 + ["the process that decoded it ended"] + [None] * 11
    assert alone == ([], ["the process that decoded it ended"])


SLOW = """
import sys, time
from psi_core import decoder
opened = decoder.open_picture
decoder.open_picture = lambda file: time.sleep(3600) if "slow" in file else opened(file)
decoder.main()
"""


def test_a_picture_whose_decoding_does_not_end_is_named_and_its_process_replaced(tmp_path, monkeypatch):
    files, slow = numbered(tmp_path, 20), tmp_path / "slow.png"
    slow.write_bytes(Path(files[0]).read_bytes())
    script = tmp_path / "script.py"
    script.write_text(SLOW)
    monkeypatch.setattr(pictures, "python_command", lambda *_: [sys.executable, str(script)])
    pool = DecoderPool(1)
    assert decoded(pool, files)[0] == list(range(20))
    (before,) = pids_of(pool)
    monkeypatch.setattr(processes, "STILL_SECONDS", 0.4)
    with pytest.raises(DataError, match=r"slow\.png: .* was given up, since it did nothing for .*; look at the file"):
        decoded(pool, [*files[:3], str(slow), *files[3:]])
    assert not is_there(before)
    monkeypatch.setattr(processes, "STILL_SECONDS", 60.0)
    with pytest.raises(DataError, match="slow"):  # At once: it is not waited for again.
        decoded(pool, [str(slow)])
    assert decoded(pool, files)[0] == list(range(20))
    assert pids_of(pool) != [before]
    pool.close()


@pytest.mark.parametrize("do", ["digests", "bits"])
def test_a_file_that_never_ends_holds_up_nothing_that_reads_it(tmp_path, monkeypatch, do):
    os.mkfifo(tmp_path / "gate.png")
    pool = DecoderPool(1)
    ask = {"digests": lambda files: pool.digests(files, None), "bits": pool.bits}[do]
    assert len(ask(numbered(tmp_path, 3))) == 3
    monkeypatch.setattr(processes, "STILL_SECONDS", 0.4)
    with pytest.raises(DataError, match=r"gate\.png"):
        ask([str(tmp_path / "gate.png")])
    pool.close()


def test_digests_are_those_of_the_files_and_of_their_middles(pool, files):
    for most in (None, 10):
        found = pool.digests(files, most)
        for file, digest in zip(files, found, strict=True):
            data = Path(file).read_bytes() if Path(file).exists() else b""
            start = 0 if most is None else max(0, (len(data) - most) // 2)
            part = data[start : start + (most or len(data))]
            assert digest == ((len(data), hashlib.sha256(part).digest()) if data else None)


def test_a_child_is_waited_for_while_it_computes_but_not_for_ever(monkeypatch):
    clock, ticks = [0.0], [5]
    monkeypatch.setattr(processes.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(processes, "_processor_ticks", lambda _pid: ticks[0])
    patience = Patience(1)

    def pass_by(seconds, computing):
        for _ in range(seconds):
            clock[0] += 1
            ticks[0] += computing
            if reason := patience.reason():
                return reason
        return ""

    assert pass_by(59, 0) == ""
    assert pass_by(200, 1) == ""
    assert pass_by(59, 0) == ""
    assert pass_by(1, 1) == ""
    assert pass_by(30, 0) == ""
    clock[0] += 1000  # We were stopped ourselves, or the machine slept: that counts as two seconds.
    assert pass_by(28, 0) == ""
    assert pass_by(1, 0) == "it did nothing for 60 s"
    patience = Patience(1)
    assert pass_by(1799, 1) == ""
    assert pass_by(1, 1) == "it took 30 minutes"
    patience = Patience(1, longest_seconds=math.inf)
    assert pass_by(100_000, 1) == ""
    assert pass_by(60, 0) == "it did nothing for 60 s"


def test_signals_of_a_job_do_not_reach_a_decoder(pool, tmp_path):
    files = numbered(tmp_path, 40)
    decoded(pool, files)
    pids = pids_of(pool)
    for pid in pids:
        for number in SIGNALS:
            os.kill(pid, number)
    assert decoded(pool, files)[0] == list(range(40))
    assert pids_of(pool) == pids


def test_an_error_of_another_kind_reaches_who_asks(pool, monkeypatch, tmp_path):
    files = numbered(tmp_path, 40)

    def cannot_start(*_arguments, **_options):
        raise OSError("too many processes")

    fresh = DecoderPool(1)
    monkeypatch.setattr(pictures.subprocess, "Popen", cannot_start)
    with pytest.raises(OSError, match="too many processes"):
        decoded(fresh, files)
    monkeypatch.undo()
    assert decoded(fresh, files)[0] == list(range(40))
    fresh.close()


WORKER = """
import sys
from psi_core.engine.images.pictures import DecoderPool
pool = DecoderPool(2)
pool.decode(sys.argv[1:] * 17, 28, 1, None, keeps_input_size=False)
print(*[each._process.pid for each in pool._all if each._process], flush=True)
sys.stdin.read()
"""


def test_decoders_end_with_a_worker_that_is_killed(tmp_path):
    command = [sys.executable, "-c", WORKER, *numbered(tmp_path, 1)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout and worker.stdin
    pids = [int(pid) for pid in worker.stdout.readline().split()]
    assert pids and all(map(is_there, pids))
    worker.kill()
    worker.communicate()
    wait_until(lambda: not any(map(is_there, pids)), 20)


def pids_of(pool):
    return [decoder._process.pid for decoder in pool._all if decoder._process]


def is_there(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
