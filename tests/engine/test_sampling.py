"""Which images a run takes, and that all who ask agree."""

import json
import shutil
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi_core.ablation import AblationConfig
from psi_core.engine import analyze
from psi_core.engine.ablation.preparation import prepare_ablation
from psi_core.engine.again.export import export_images
from psi_core.engine.again.pictures import PictureMaker
from psi_core.engine.images import load_dataset, load_external
from psi_core.engine.images.dataset import ArrayDataset
from psi_core.engine.preparation import prepare
from psi_core.engine.sampling import image_count, positions_of, stratified_sample
from psi_core.engine.work.worker import Worker
from psi_core.errors import ConfigError, DataError, RunError
from psi_core.pictures import picture_answer, pixels_of, require_image
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.runs.loading import POSITIONS
from psi_core.runs.run import Run
from tests.engine.picture_files import DIGITS, digit_folder
from tests.engine.processes import new_run, small_config
from tests.recorded import make_older, rewrite_chunk


def labeled(labels: list[int]) -> ArrayDataset:
    names = tuple(map(str, range(max(labels) + 1)))
    return ArrayDataset("made", np.zeros((len(labels), 2, 2), np.uint8), np.array(labels), names)


def lot(seed: int, position: int) -> int:
    """The signed 64-bit lot of an image, in whole numbers that cannot overflow."""
    gamma, below = 0x9E3779B97F4A7C15, 2**64 - 1

    def mixed(word: int) -> int:
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & below
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & below
        return word ^ (word >> 31)

    def following(state: int) -> int:
        return mixed((state + gamma) & below)

    key = following(following(following(seed) ^ position) ^ zlib.crc32(b"images"))
    word = mixed((key + gamma) & below)
    return word - 2**64 if word >= 2**63 else word


def expected_sample(labels: list[int], images: int, seed: int) -> list[int]:
    """Hamilton's method and lots, class by class."""
    classes = {label: [at for at, each in enumerate(labels) if each == label] for label in set(labels)}
    for members in classes.values():
        members.sort(key=lambda at: lot(seed, at))
    shares = {label: len(members) * images // len(labels) for label, members in classes.items()}
    remainders = {label: len(members) * images % len(labels) for label, members in classes.items()}
    left = images - sum(shares.values())
    by_remainder = sorted(classes, key=lambda each: (-remainders[each], lot(seed, classes[each][shares[each]])))
    for label in by_remainder[:left]:
        shares[label] += 1
    return sorted(at for label, members in classes.items() for at in members[: shares[label]])


class_numbers = st.lists(st.integers(0, 6), min_size=2, max_size=80)


@given(class_numbers, st.data())
def test_every_class_has_its_share_to_within_one_image(labels, data):
    images = data.draw(st.integers(1, len(labels) - 1))
    seed = data.draw(st.integers(0, 2**63 - 1))
    sample = stratified_sample(np.array(labels), images, seed)
    assert sample.tolist() == expected_sample(labels, images, seed)
    assert len(sample) == images
    assert (np.diff(sample) > 0).all(), "ascending, none twice"
    mine, all_of_them = Counter(np.array(labels)[sample].tolist()), Counter(labels)
    for label, count in all_of_them.items():
        assert abs(mine[label] - count * images / len(labels)) < 1


def test_a_sample_of_the_digits_is_the_same_on_every_machine():
    dataset = load_dataset("mnist", "test")
    assert positions_of(dataset, 12, "sample", 0).tolist() == [
        *(277, 2448, 2981, 4179, 5802, 6582, 6693, 6726, 8292, 8772, 9087, 9614)
    ]
    counts = np.bincount(dataset.labels[positions_of(dataset, 1000, "sample", 0)])
    assert np.abs(counts - np.bincount(dataset.labels) / 10).max() < 1


@given(class_numbers, st.data())
def test_how_classes_are_numbered_does_not_matter(labels, data):
    images = data.draw(st.integers(1, len(labels) - 1))
    others = np.array(data.draw(st.permutations(range(7))))[labels]
    assert (stratified_sample(np.array(labels), images, 3) == stratified_sample(others, images, 3)).all()


def test_every_image_of_a_class_has_the_same_chance_and_so_has_a_class_with_an_equal_remainder():
    labels, seeds = np.repeat([0, 1, 2, 3], 5), 4000
    drawn = np.bincount(np.concatenate([stratified_sample(labels, 2, seed) for seed in range(seeds)]), minlength=20)
    assert np.abs(drawn - seeds / 10).max() < 5 * np.sqrt(seeds / 10 * 0.9)


def test_all_or_the_first_images_need_no_lot():
    dataset = labeled([0, 1] * 10)
    for order in ("sample", "first"):
        assert positions_of(dataset, None, order, 0).tolist() == list(range(20))
        assert positions_of(dataset, 20, order, 0).tolist() == list(range(20))
        with pytest.raises(DataError, match="made has 20 images, not 21; write at most 20"):
            positions_of(dataset, 21, order, 0)
    assert positions_of(dataset, 7, "first", 0).tolist() == list(range(7))
    assert (image_count(dataset, None), image_count(dataset, 7)) == (20, 7)


def test_own_labels_are_one_class():
    dataset = labeled([0] * 99 + [1])
    one_class = positions_of(dataset, 50, "sample", 5, by_class=False)
    assert one_class.tolist() == expected_sample([0] * 100, 50, 5)
    options = {"labels": "predicted", "images": 50}
    assert (prepare(small_config(**options)).positions == expected_sample([0] * 10_000, 50, 0)).all()


def same_chunks(first: Run, second: Run) -> bool:
    assert first.chunks == second.chunks
    for number in range(first.chunks):
        mine, others = (read_arrays(chunk_path(run.directory, number)) for run in (first, second))
        assert list(mine) == list(others)
        assert all(mine[name].tobytes() == others[name].tobytes() for name in mine)
    return True


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return analyze(small_config(images=40, epsilon=[0.1]), tmp_path_factory.mktemp("sampled"))


def test_a_run_measures_its_sample_whoever_works(sampled: Run, tmp_path: Path):
    assert sampled.index.tolist() == sampled.positions.tolist() == np.load(sampled.directory / POSITIONS).tolist()
    assert sampled.index[-1] > 40
    assert (sampled.labels == DIGITS.labels[sampled.index]).all()
    assert np.concatenate([sampled.chunk_positions(number) for number in range(3)]).tolist() == sampled.index.tolist()
    directory = new_run(tmp_path, images=40, epsilon=[0.1])
    Worker(directory, 1, 2).work()  # Its own chunk, and those of worker 0, who is not there.
    assert same_chunks(Run(directory), sampled)
    chunk_path(directory, 1).unlink()
    Worker(directory).work()
    assert same_chunks(Run(directory), sampled)
    other = prepare(small_config(images=40, epsilon=[0.1], seed=1))
    assert (other.positions != sampled.positions).any()


def test_a_run_of_before_takes_the_first_images(tmp_path: Path):
    options = {"images": 30, "epsilon": [0.1]}
    now = analyze(small_config(order="first", **options), tmp_path)
    assert now.index.tolist() == list(range(30))
    assert not (now.directory / POSITIONS).exists()
    before = tmp_path / "before"
    shutil.copytree(now.directory, before)
    make_older(before)
    (before / "model.json").unlink()
    values = json.loads((before / "config.json").read_text())
    assert values.pop("order") == "first"
    (before / "config.json").write_text(json.dumps(values))
    chunk_path(before, 0).unlink()
    chunk_path(before, 2).unlink()
    Worker(before).work()
    assert same_chunks(Run(before), now)
    whole = analyze(small_config(data=archive(tmp_path, 30), **options), tmp_path)
    assert (whole.config.order, whole.index.tolist()) == ("sample", list(range(30)))
    assert same_chunks(whole, now), "all images are all images"


def archive(folder: Path, images: int) -> str:
    np.savez(folder / "digits.npz", images=DIGITS.images[:images], labels=DIGITS.labels[:images])
    return f"npz:{folder / 'digits.npz'}"


def test_data_of_which_the_sample_would_be_another_are_refused(tmp_path: Path):
    directory = new_run(tmp_path, data=archive(tmp_path, 200), images=30)
    archive(tmp_path, 180)
    with pytest.raises(RunError, match="its sample would be another; put the old ones back"):
        Worker(directory).work()


@pytest.mark.parametrize("how", ["short", "floats", "falling", "negative", "text", "pickled", "archive"])
def test_damaged_positions_are_said(sampled: Run, tmp_path: Path, how: str):
    shutil.copytree(sampled.directory, tmp_path / "run")
    path, good = tmp_path / "run" / POSITIONS, sampled.positions
    arrays = {"short": good[1:], "floats": good.astype(float), "falling": good[::-1], "negative": good - good[0] - 1}
    if how in arrays:
        np.save(path, arrays[how])
    elif how == "pickled":
        np.save(path, np.array([object()] * 40, dtype=object), allow_pickle=True)
    elif how == "archive":
        with path.open("wb") as file:
            np.savez(file, good)
    else:
        path.write_text("no array")
    with pytest.raises(RunError, match=rf"{POSITIONS}: cannot be read .*damaged"):
        _ = Run(tmp_path / "run").positions


def test_an_image_is_found_by_its_position(sampled: Run):
    position = int(sampled.index[20])
    condition = require_image(sampled, position, "fgsm@0.1", 28, 28)
    picture = PictureMaker().make(sampled, position, condition)
    answer = picture_answer(sampled, position, "fgsm@0.1", picture, (28, 28))
    assert np.allclose(pixels_of(answer["benign"]), DIGITS.images[position] / 255, atol=1e-3)
    assert answer["recorded"]["label"] == DIGITS.labels[position]
    assert answer["recorded"]["prediction"] == answer["prediction"] == sampled.predictions[1, 20]
    stranger = next(each for each in range(41) if each not in sampled.index)
    for index in (stranger, -1, 10_000):
        with pytest.raises(ConfigError, match=f"has no image {index}; write a number of its sample, such as"):
            require_image(sampled, index, "fgsm@0.1", 28, 28)


def test_a_picture_that_was_left_out_has_nothing_recorded(sampled: Run, tmp_path: Path):
    shutil.copytree(sampled.directory, tmp_path / "run")
    path, position = chunk_path(tmp_path / "run", 0), int(sampled.index[0])
    arrays = {name: array[..., 1:] if array.shape[-1:] == (14,) else array for name, array in read_arrays(path).items()}
    rewrite_chunk(tmp_path / "run", 0, arrays)
    run = Run(tmp_path / "run")
    picture = PictureMaker().make(run, position, run.condition_details[0])
    assert picture_answer(run, position, "benign", picture, (28, 28))["recorded"] is None


def test_images_of_a_sample_are_exported_and_attack_again_by_their_positions(sampled: Run, tmp_path: Path):
    export_images(sampled, tmp_path / "out", ["npz", "png"], lambda done, total: None)
    place = tmp_path / "out" / "images-fgsm@0.1.npz"
    assert np.load(place)["index"].tolist() == sampled.index.tolist()
    assert sorted(int(file.stem) for file in (tmp_path / "out/png/benign").iterdir()) == sampled.index.tolist()
    options = {"images": 40, "attack": "none", "controls": "none"}
    again = analyze(small_config(attacked=f"npz:{place}", **options), tmp_path / "runs")
    assert (again.psi[1] == sampled.psi[1]).all()
    np.savez(tmp_path / "plain.npz", images=np.load(place)["images"])
    for skips in (False, True):
        with pytest.raises(DataError, match=r"40 images without positions.*as index, or take the first.*--order first"):
            prepare(small_config(attacked=f"npz:{tmp_path / 'plain.npz'}", skip_unreadable=skips, **options))


def test_attacked_images_are_paired_with_a_sample_by_position_or_name(tmp_path: Path):
    order = digit_folder(tmp_path / "benign", 60)
    dataset = load_dataset(f"folder:{tmp_path / 'benign'}", "test")
    positions = positions_of(dataset, 20, "sample", 0)
    np.savez(tmp_path / "all.npz", images=255 - DIGITS.images[order], labels=dataset.labels)
    shutil.copytree(tmp_path / "benign", tmp_path / "attacked")
    stranger = next(each for each in range(60) if each not in positions)
    (tmp_path / "attacked" / dataset.place_of(stranger)).unlink()
    inverted, same = f"npz:{tmp_path / 'all.npz'}", f"folder:{tmp_path / 'attacked'}"
    for place, pixels in ((inverted, 255 - DIGITS.images), (same, DIGITS.images)):
        external = load_external(place, dataset, positions, 28, None, [dataset.labels])
        for some in (positions, positions[5:9], positions[::3]):
            assert (external.read(some, 28, 1).pixels == pixels[order][some]).all()
    (tmp_path / "attacked" / dataset.place_of(int(positions[3]))).unlink()
    with pytest.raises(DataError, match="one of 1 without a partner"):
        load_external(same, dataset, positions, 28, None, ())
    lacking = load_external(same, dataset, positions, 28, None, (), may_lack=True)
    assert [each.position for each in lacking.read(positions, 28, 1).unreadable] == [positions[3]]


def test_an_ablation_keeps_the_first_images():
    config = AblationConfig(layer="conv1", weights="random", images=30, train_images=200)
    assert prepare_ablation(config).prepared.positions.tolist() == list(range(30))
