"""A cached fit is compared with its card at every start; what is damaged is named, set aside, and made again."""

import fcntl
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from psi_core.devices import CPU
from psi_core.engine.models.checkpoints import Recipe, find_checkpoint, fitting_lock, set_damaged_aside
from psi_core.engine.models.fitting import Fit, FitInterruptedError, ensure_fitted
from psi_core.errors import ModelError
from psi_core.files import checkpoints_directory
from psi_core.runs.events import FitAdvanced, Warned

RECIPE = Recipe("lenet5", "mnist", 28, images=128, epochs=1)


def never() -> bool:
    """Never stops."""
    return False


def told(recipe: Recipe = RECIPE, should_stop: Callable[[], bool] = never) -> list[str]:
    """Warnings of a fit."""
    seen: list[FitAdvanced | Warned] = []
    ensure_fitted(recipe, CPU, seen.append, should_stop)
    return [event.text for event in seen if isinstance(event, Warned)]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights and the card of a fit."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        assert told() == []
    (checkpoints_of,) = folder.rglob("checkpoints")
    return checkpoints_of


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the partial file of a fit that was asked to leave."""
    folder, asked = tmp_path_factory.mktemp("interrupted"), iter(range(100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        with pytest.raises(FitInterruptedError):
            told(should_stop=lambda: next(asked) >= 1)
    (checkpoints_of,) = folder.rglob("checkpoints")
    return checkpoints_of


@pytest.fixture
def weights(fitted: Path) -> Path:
    """The weights of that fit in this test's own cache."""
    shutil.copytree(fitted, checkpoints_directory())
    return checkpoints_directory() / f"{RECIPE.stem}.safetensors"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def other_weights(path: Path) -> None:
    """Whole and well-formed, and another network."""
    save_file({name: tensor * 1.5 for name, tensor in load_file(path).items()}, path)


def card(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        values = json.loads(path.with_suffix(".json").read_text())
        path.with_suffix(".json").write_text(json.dumps(change(values)))

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit": (lambda path: flip(path, -5), "bytes are not those"),
    "the header": (lambda path: flip(path, 20), "bytes are not those"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "bytes are not those"),
    "empty": (lambda path: path.write_bytes(b""), "bytes are not those"),
    "other weights": (other_weights, "bytes are not those"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is missing"),
    "no weights": (lambda path: path.unlink(), "safetensors is missing"),
    "no card": (lambda path: path.with_suffix(".json").unlink(), r"json is missing"),
    "half a card": (lambda path: path.with_suffix(".json").write_text('{"recipe": {'), "card cannot be read"),
    "no text": (lambda path: path.with_suffix(".json").write_bytes(b"\xff\xfe"), "card cannot be read"),
    "a deep card": (lambda path: path.with_suffix(".json").write_text("[" * 100_000), "card cannot be read"),
    "a list": (card(lambda values: [values]), "not one that a fit leaves"),
    "no digest": (card(lambda values: values.pop("sha256") and values), "not one that a fit leaves"),
    "a null digest": (card(lambda values: {**values, "sha256": None}), "not one that a fit leaves"),
    "another digest": (card(lambda values: {**values, "sha256": "0" * 64}), "bytes are not those"),
    "no accuracy": (card(lambda values: {**values, "test_accuracy": "high"}), "not one that a fit leaves"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_fit_is_named_and_set_aside(weights: Path, damage: Callable[[Path], object], reason: str) -> None:
    assert find_checkpoint(RECIPE) is not None
    damage(weights)
    assert find_checkpoint(RECIPE) is None
    sentence = set_damaged_aside(RECIPE)
    assert sentence.startswith(str(weights))
    assert reason in sentence or pytest.fail(sentence)
    assert "is fitted again" in sentence
    names = {path.name for path in weights.parent.iterdir() if path.suffix != ".lock"}
    assert names
    assert all(name.endswith(".damaged") for name in names)
    assert set_damaged_aside(RECIPE) == ""


def test_a_damaged_fit_is_made_again_with_the_same_weights(weights: Path) -> None:
    whole = weights.read_bytes()
    flip(weights, -5)
    (sentence,) = told()
    assert "is fitted again" in sentence
    assert weights.read_bytes() == whole
    assert told() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-300]),
        lambda path: path.write_bytes(b"torn"),
        lambda path: flip(path, path.stat().st_size // 2),
        lambda path: torch.save({"network": {}}, path),
        lambda path: torch.save({"network": {}, "optimizer": {}, "position": {"step": -4}, "recent": []}, path),
    ],
    ids=["cut", "torn", "one bit", "another", "a step that is none"],
)
def test_a_damaged_partial_file_is_set_aside_and_the_fit_starts_over(
    interrupted: Path, damage: Callable[[Path], object]
) -> None:
    shutil.copytree(interrupted, checkpoints_directory())
    (partial,) = checkpoints_directory().glob("*.partial.pt")
    damage(partial)
    seen: list[FitAdvanced | Warned] = []
    fit = Fit(RECIPE, CPU, seen.append, never)
    assert fit.step == 0
    (warning,) = seen
    assert isinstance(warning, Warned)
    assert "the fit starts over" in warning.text
    assert partial.with_name(f"{partial.name}.damaged").exists()
    assert all(torch.isfinite(tensor).all() for tensor in fit.classifier.network.state_dict().values())


def test_who_waits_for_a_fit_can_be_asked_to_leave(fitted: Path) -> None:
    checkpoints_directory().mkdir(parents=True)
    asked = iter((False, False, True))
    with (checkpoints_directory() / f"{RECIPE.stem}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with fitting_lock(RECIPE, lambda: next(asked)) as is_held:
            assert not is_held
        with pytest.raises(FitInterruptedError):
            told(should_stop=lambda: True)


def test_where_the_disk_has_no_locks_others_wait_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fails)
    with fitting_lock(RECIPE, never) as is_held:
        assert is_held
        with fitting_lock(RECIPE, lambda: True) as is_held_twice:
            assert not is_held_twice
    with fitting_lock(RECIPE, never) as is_held:
        assert is_held


def test_a_lock_that_finds_no_room_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fails)
    with pytest.raises(ModelError, match=r"No space left on device.*XDG_CACHE_HOME"):
        told()


def test_a_cache_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"fit: .* cannot be written to .*XDG_CACHE_HOME"):
        told()


def test_what_a_fit_leaves_lies_on_the_disk_first(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace, sync = Path.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("sync"), sync(file))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append(Path(to).suffix), replace(self, to))[1])
    weights.unlink()
    told()
    assert order[-4:] == ["sync", "sync", ".json", ".safetensors"]


@pytest.fixture
def full_disk() -> Iterator[Callable[[], None]]:
    """Lets no file grow beyond some kilobytes, as on a full disk; gives what calls that off."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [Fit._save_partial, lambda fit: fit._save(0.5)], ids=["partial", "weights"])
def test_a_full_disk_is_said_in_our_words_and_leaves_nothing(
    write: Callable[[Fit], object], full_disk: Callable[[], None]
) -> None:
    checkpoints_directory().mkdir(parents=True)
    fit = Fit(RECIPE, CPU, [].append, never)
    fit.recent = [1.0]
    with pytest.raises(ModelError, match=r"^fit: .* cannot be written to \(.*\); free some of its disk") as refused:
        write(fit)
    assert "\n" not in str(refused.value)
    assert list(checkpoints_directory().iterdir()) == []
    full_disk()
    write(fit)
    assert list(checkpoints_directory().iterdir()) != []


def test_images_that_cannot_be_read_are_not_taken_for_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Fit, "_batch", fails)
    with pytest.raises(OSError, match="Input/output"):
        told()


def test_memory_that_runs_out_over_a_partial_file_leaves_it_as_it_is(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(interrupted, checkpoints_directory())
    (partial,) = checkpoints_directory().glob("*.partial.pt")
    whole = partial.read_bytes()
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory")):
        with monkeypatch.context() as patch, pytest.raises(type(error)):

            def fails(*_: object, error: Exception = error, **__: object) -> None:
                raise error

            patch.setattr(torch, "load", fails)
            Fit(RECIPE, CPU, [].append, never)
        assert partial.read_bytes() == whole
        assert not list(checkpoints_directory().glob("*.damaged*"))
    seen: list[FitAdvanced | Warned] = []
    assert Fit(RECIPE, CPU, seen.append, never).step > 0
    assert isinstance(seen[0], Warned)
    assert "going on" in seen[0].text
