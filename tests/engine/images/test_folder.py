"""Folders of pictures: their order, every kind of picture, and those that cannot be read."""

import os

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, Compose, Resize

from psi_core.engine import analyze
from psi_core.engine.analysis import begin
from psi_core.engine.images import load_dataset
from psi_core.engine.images.pictures import decoder_pool
from psi_core.engine.work.worker import Worker
from psi_core.errors import ConfigError, DataError, PsiError, RunError
from psi_core.runs import processes
from psi_core.runs.finding import load_run
from psi_core.tables.registry import TABLE_NAMES, table_rows
from tests.engine.picture_files import DIGITS, colored, digit_folder
from tests.engine.processes import assert_same_results, events, small_config


def read(dataset, position=0, size=28, channels=1):
    reading = dataset.read(np.array([position]), size, channels)
    assert not reading.unreadable, reading.unreadable
    return reading.pixels[0]


def one_picture(folder, name="a.png", **saving):
    """A folder with one picture in one class; gives a function that saves it."""

    def save(image):
        (folder / "0").mkdir(parents=True, exist_ok=True)
        image.save(folder / "0" / name, **saving)
        return load_dataset(f"folder:{folder}", "test")

    return save


def test_classes_come_in_turn_and_files_by_name(tmp_path):
    order = digit_folder(tmp_path, 80)
    dataset = load_dataset(f"folder:{tmp_path}", "test")
    assert dataset.labels.tolist() == DIGITS.labels[order].tolist()
    assert dataset.class_names == tuple("0123456789")
    reading = dataset.read(np.arange(len(dataset)), 28, 1)
    assert (reading.pixels == DIGITS.images[order]).all()
    assert dataset.place_of(0) == f"0/{order[0]:05}.png"


def test_parts_are_taken_by_split(tmp_path):
    digit_folder(tmp_path / "train", 30)
    digit_folder(tmp_path / "val", 12)
    assert len(load_dataset(f"folder:{tmp_path}", "train")) == 30
    assert len(load_dataset(f"folder:{tmp_path}", "test")) == 12
    with pytest.raises(DataError, match=r"has no part train; .* name a file with --weights"):
        load_dataset(f"folder:{tmp_path / 'val'}", "train")


def test_what_is_no_picture_or_hidden_is_passed_over(tmp_path):
    digit_folder(tmp_path, 10)
    (tmp_path / "0" / "notes.txt").write_text("no picture")
    (tmp_path / ".thumbs").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / ".thumbs" / "a.png")
    (tmp_path / "empty").mkdir()
    dataset = load_dataset(f"folder:{tmp_path}", "test")
    assert len(dataset) == 10
    assert "empty" not in dataset.class_names


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_without_pictures_is_refused(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"there is no folder|holds no picture"):
        load_dataset(f"folder:{tmp_path / kind}", "test")


def test_gray_color_and_palette_are_read_alike(tmp_path):
    gray = Image.fromarray(DIGITS.images[3])
    for number, mode in enumerate(("L", "RGB", "P", "RGBA", "LA")):
        image = gray.convert(mode)
        dataset = one_picture(tmp_path / str(number))(image)
        assert (read(dataset) == DIGITS.images[3]).all(), mode
        assert (read(dataset, channels=3) == DIGITS.images[3][:, :, None]).all(), mode


def test_color_stays_color_and_becomes_luminance_for_a_gray_network(tmp_path):
    dataset = one_picture(tmp_path)(Image.fromarray(colored(5)))
    assert (read(dataset, channels=3) == colored(5)).all()
    red, green, blue = np.moveaxis(colored(5).astype(float), 2, 0)
    assert np.abs(read(dataset) - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 1


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    wide = (DIGITS.images[3].astype(np.uint16) * 257).astype(np.uint16)
    assert (read(one_picture(tmp_path)(Image.fromarray(wide))) == DIGITS.images[3]).all()


def test_cmyk_is_read_as_color(tmp_path):
    dataset = one_picture(tmp_path, "a.tif")(Image.fromarray(colored(5)).convert("CMYK"))
    assert (read(dataset, channels=3) == colored(5)).all()


def test_a_picture_is_turned_as_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned; viewers turn the picture a quarter clockwise.
    dataset = one_picture(tmp_path, exif=exif)(Image.fromarray(DIGITS.images[3]))
    assert (read(dataset) == np.rot90(DIGITS.images[3], -1)).all()


def test_the_shorter_edge_is_resized_and_the_center_cut_out(tmp_path):
    wide = np.zeros((28, 48), np.uint8)
    wide[:, 10:38] = DIGITS.images[3]
    dataset = one_picture(tmp_path)(Image.fromarray(wide))
    assert (read(dataset) == DIGITS.images[3]).all()
    larger = load_dataset(f"folder:{tmp_path}", "test", resize=56)
    expected = Image.fromarray(wide).resize((96, 56), Image.Resampling.BILINEAR).crop((34, 14, 62, 42))
    assert (read(larger) == np.asarray(expected)).all()


def test_a_run_over_a_folder_gives_what_the_bundled_digits_give(tmp_path):
    order = digit_folder(tmp_path / "digits", 80)
    options = {"chunk": 15, "batch": 7, "epsilon": [0.1], "images": 80, "order": "first"}
    mine = analyze(small_config(data=f"folder:{tmp_path / 'digits'}", **options), tmp_path / "runs")
    bundled = analyze(small_config(**options), tmp_path / "runs")
    assert (mine.predictions[0] == bundled.predictions[0][order]).all()
    assert np.allclose(mine.psi[0], bundled.psi[0][:, order], atol=1e-6, equal_nan=True)
    assert (mine.labels == bundled.labels[order]).all()


BROKEN = {"empty": b"", "text": b"no picture at all", "cut": None}


@pytest.mark.parametrize("how", BROKEN)
def test_a_picture_that_cannot_be_read_ends_the_run_and_is_named(tmp_path, how):
    digit_folder(tmp_path / "digits", 30)
    spoil(tmp_path / "digits" / "7" / "00000.png", how)
    config = small_config(data=f"folder:{tmp_path / 'digits'}", images=30, chunk=10)
    with pytest.raises(PsiError, match=r"7/00000\.png .*cannot be read.*--skip-unreadable"):
        analyze(config, tmp_path / "runs")


@pytest.mark.parametrize("how", BROKEN)
def test_or_it_is_left_out_and_counted(tmp_path, how):
    digit_folder(tmp_path / "digits", 30)
    options = {"data": f"folder:{tmp_path / 'digits'}", "images": 30, "chunk": 10, "batch": 4}
    whole = analyze(small_config(**options), tmp_path / "runs")
    spoil(tmp_path / "digits" / "7" / "00000.png", how)
    run = analyze(small_config(skip_unreadable=True, **options), tmp_path / "runs")
    assert run.status == "done"
    gone = sorted(set(whole.index.tolist()) - set(run.index.tolist()))
    assert len(gone) == 1
    kept = np.isin(whole.index, run.index)
    assert (run.labels == whole.labels[kept]).all()
    assert np.allclose(run.psi, whole.psi[..., kept], atol=1e-6, equal_nan=True)
    warnings = [event for event in events(run.directory) if event["event"] == "warning"]
    assert [event["images"] for event in warnings] == [gone]
    assert "7/00000.png" in warnings[0]["text"]


def test_a_run_with_no_readable_picture_in_a_chunk_is_whole(tmp_path):
    digit_folder(tmp_path / "digits", 12)
    files = sorted((tmp_path / "digits").rglob("*.png"))
    dataset = load_dataset(f"folder:{tmp_path / 'digits'}", "test")
    first = {dataset.place_of(position) for position in range(5)}
    for file in files:
        if str(file.relative_to(tmp_path / "digits")) in first:
            file.write_bytes(b"")
    options = {"data": f"folder:{tmp_path / 'digits'}", "images": 12, "chunk": 5, "batch": 4, "skip_unreadable": True}
    run = analyze(small_config(**options), tmp_path / "runs")
    assert run.index.tolist() == list(range(5, 12))
    assert run.class_sums("fc1")[1].sum() == 7


def spoil(path, how):
    path.write_bytes(path.read_bytes()[:80] if BROKEN[how] is None else BROKEN[how])


def test_a_folder_without_a_train_part_cannot_be_fitted_to_and_is_refused_before_any_work(tmp_path):
    digit_folder(tmp_path / "digits", 20)
    with pytest.raises(DataError, match="no part train; make a folder"):
        analyze(small_config(data=f"folder:{tmp_path / 'digits'}", images=20, weights="fitted"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_weights_are_fitted_to_its_train_part(tmp_path, own_folders):
    digit_folder(tmp_path / "digits" / "train", 600)
    digit_folder(tmp_path / "digits" / "test", 100)
    run = analyze(small_config(data=f"folder:{tmp_path / 'digits'}", images=100, weights="fitted"), tmp_path / "runs")
    assert run.model["fit"]["recipe"]["images"] == 600
    assert (run.predictions[0] == run.labels).mean() > 0.3


def test_a_folder_that_has_changed_is_not_gone_on_with(tmp_path):
    digit_folder(tmp_path / "digits", 30)
    config = small_config(data=f"folder:{tmp_path / 'digits'}", images=30, chunk=10)
    run = analyze(config, tmp_path / "runs")
    (run.directory / "chunks" / "00001.npz").unlink()
    (tmp_path / "digits" / "7" / "00000.png").rename(tmp_path / "digits" / "7" / "99999.png")
    with pytest.raises(PsiError, match="data: the images are others than those that the run began with"):
        Worker(run.directory).work()
    (tmp_path / "digits" / "7" / "99999.png").rename(tmp_path / "digits" / "7" / "00000.png")
    assert Worker(run.directory).work() == "finished"
    assert (load_run(str(run.directory)).psi == run.psi).all()


def test_a_picture_that_never_comes_fails_the_run_by_name_and_resume_makes_the_same(tmp_path, monkeypatch):
    order = digit_folder(tmp_path / "digits", 40)
    config = small_config(data=f"folder:{tmp_path / 'digits'}", images=40, skip_unreadable=True)
    reference = analyze(config, tmp_path / "reference")
    prepared, run = begin(config, tmp_path / "runs")
    picture = tmp_path / "digits" / str(int(DIGITS.labels[order[30]])) / f"{order[30]:05}.png"
    picture.rename(tmp_path / "kept.png")
    os.mkfifo(picture)
    monkeypatch.setattr(processes, "STILL_SECONDS", 1.0)
    decoder_pool.cache_clear()  # Its processes are there in a real worker too before a disk stalls.
    with pytest.raises(DataError, match=rf"{picture.name}: .* was given up, .* then resume the run"):
        Worker(run.directory, prepared=prepared).work()
    assert [event["event"] for event in events(run.directory)][-1] == "failed"
    assert not any("left out" in event.get("text", "") for event in events(run.directory)), "none was skipped"
    assert load_run(str(run.directory)).missing_chunks
    (tmp_path / "kept.png").replace(picture)
    monkeypatch.undo()
    decoder_pool.cache_clear()
    assert Worker(run.directory).work() == "finished"
    assert_same_results(run.directory, reference.directory)


def test_fitted_classes_are_those_of_the_train_part(tmp_path, own_folders):
    digit_folder(tmp_path / "digits" / "train", 600)
    digit_folder(tmp_path / "digits" / "test", 30)  # No 8 among them.
    run = analyze(small_config(data=f"folder:{tmp_path / 'digits'}", images=30, weights="fitted"), tmp_path / "runs")
    assert sorted(set(run.labels.tolist())) == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert len(run.model["class_names"]) == 10
    (tmp_path / "digits" / "test" / "9").rename(tmp_path / "digits" / "test" / "nine")
    with pytest.raises(DataError, match="has images of nine, which its training part lacks"):
        analyze(small_config(data=f"folder:{tmp_path / 'digits'}", images=20, weights="fitted"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_folders_called_as_parts_are_no_classes(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        Image.new("L", (28, 28)).save(tmp_path / part / "a.png")
    with pytest.raises(DataError, match="has no part test with a folder for each class"):
        load_dataset(f"folder:{tmp_path}", "test")


def test_a_run_without_one_readable_picture_says_so_in_every_table(tmp_path):
    digit_folder(tmp_path / "digits", 20)
    for file in (tmp_path / "digits").rglob("*.png"):
        file.write_bytes(b"")
    run = analyze(
        small_config(data=f"folder:{tmp_path / 'digits'}", images=20, skip_unreadable=True, precision="bf16"),
        tmp_path / "runs",
    )
    for table in TABLE_NAMES:
        with pytest.raises(RunError, match="none of its images so far could be read"):
            table_rows(run, table)
            pytest.fail(table)
    assert sum(len(event["images"]) for event in events(run.directory) if event["event"] == "warning") == 20


@pytest.mark.parametrize("shape", [(301, 407), (97, 400), (333, 224), (224, 224), (50, 60)])
def test_pictures_are_resized_and_cut_as_torchvision_does(tmp_path, shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    dataset = one_picture(tmp_path)(Image.fromarray(noise))
    usual = Compose([Resize(256), CenterCrop(224)])(Image.fromarray(noise))
    assert (read(load_dataset(dataset.name, "test", resize=256), size=224, channels=3) == np.asarray(usual)).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_exif_that_cannot_be_read_is_passed_over(tmp_path):
    dataset = one_picture(tmp_path, "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff", quality=100)(
        Image.fromarray(DIGITS.images[3])
    )
    assert np.abs(read(dataset).astype(int) - DIGITS.images[3]).max() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    dataset = one_picture(tmp_path, exif=exif)(Image.fromarray(DIGITS.images[3]))
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "0" / "a.png"))
    assert (read(dataset) == np.asarray(expected)).all()


def test_resize_is_refused_where_it_would_do_nothing(tmp_path):
    with pytest.raises(ConfigError, match="leave --resize out"):
        analyze(small_config(resize=56), tmp_path)
    digit_folder(tmp_path / "digits", 20)
    with pytest.raises(ConfigError, match="below the input of 28 pixels"):
        analyze(small_config(data=f"folder:{tmp_path / 'digits'}", images=20, resize=20), tmp_path / "runs")
