"""The parts of the self-test in order, and how they are run: by name, within a time, each one told as it ends."""

import json
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from psi_core.engine.devices import describe_device, device_note, free_memory, resolve_device
from psi_core.engine.models.complaints import COMPLAINTS
from psi_core.engine.selftest import correctness, speed
from psi_core.engine.selftest.part import Finding, Part, Trial
from psi_core.errors import ConfigError, PsiError, unknown_name
from psi_core.files import plain, replacing
from psi_core.runs.events import PartTested
from psi_core.serve import Reply

PARTS = (
    Part("signs", "random numbers are the CPU's", 1, correctness.signs),
    Part("products", "exact is float32, whatever was asked of torch before", 2, correctness.products),
    Part("agreement", "the device gives what the CPU gives", 15, correctness.agreement),
    Part("zero", "epsilon 0 changes nothing, at any precision", 40, correctness.zero),
    Part("repeat", "a run repeats itself bit for bit, with attention too", 30, correctness.repeat),
    Part("workers", "two workers give the bits of one", 40, correctness.workers),
    Part("resume", "kill -9 loses the open chunk alone", 40, correctness.resume),
    Part("memory", "batches that do not fit are halved", 20, correctness.memory),
    Part("waiting", "the host never waits for the device in a step", 5, speed.waiting),
    Part("floor", "speed and memory beside the floor", 60, speed.floor),
    Part("epsilons", "the same with eight epsilons", 10, speed.epsilons),
    Part("kernels", "kernels of a step", 20, speed.kernels),
    Part("compiled", "the compiled step beside the floor", 150, speed.compiled),
)


def selftest(
    reply: Reply, device: str = "auto", parts: Sequence[str] = (), limit: float = 600.0, to: str | None = None
) -> dict[str, Any]:
    """Runs parts of the self-test; gives the machine's facts and what each part found.

    A part that fails, or raises an error, ends no other.

    Args:
        reply: receives what each part found as it ends.
        device: device to test.
        parts: names from PARTS; all where none is given.
        limit: seconds; a part for which too few are left is left out.
        to: path of a JSON file that holds what was found so far, from the first part on.

    Raises:
        ConfigError: there is no such part or device, or the file cannot be written.
    """
    for name in parts:
        if name not in [part.name for part in PARTS]:
            raise ConfigError(unknown_name("parts", name, [part.name for part in PARTS]))
    began, wanted = time.monotonic(), [part for part in PARTS if part.name in parts or not parts]
    with tempfile.TemporaryDirectory(prefix="psi-selftest-", ignore_cleanup_errors=True) as folder:
        trial = Trial(resolve_device(device), Path(folder))
        found: dict[str, Any] = {**describe_device(trial.device), "passed": True, "parts": {}}
        found["device_note"] = device_note(device, trial.device)
        for part in wanted:
            started = time.monotonic()
            left = limit - (started - began)
            short = Finding("left out", f"{left:.0f} s are left, and it takes {part.seconds:.0f} s")
            result = short if (trial.device.is_cuda and left < part.seconds) or left <= 0 else _looked(part, trial)
            seconds = round(time.monotonic() - started, 2)
            found["parts"][part.name] = {"help": part.help, **asdict(result), "seconds": seconds}
            found["passed"] &= result.verdict != "failed"
            found["seconds"] = round(time.monotonic() - began, 2)
            _keep(found, to)
            reply.report(PartTested(part.name, result.verdict, result.words, seconds))
    return found


def _looked(part: Part, trial: Trial) -> Finding:
    """What a part found; an error is a failure, and its traceback goes to standard error."""
    try:
        return part.look(trial)
    except COMPLAINTS as error:
        if not isinstance(error, PsiError):
            traceback.print_exc(file=sys.stderr)
        return Finding("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    finally:
        free_memory(trial.device)


def _keep(found: dict[str, Any], to: str | None) -> None:
    if to is None:
        return
    try:
        with replacing(Path(to)) as temporary:
            temporary.write_text(json.dumps(plain(found), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"json: {to} cannot be written ({error.strerror}); name another file") from None
