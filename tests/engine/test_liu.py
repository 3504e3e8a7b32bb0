"""Liu's preset image by image: against plain loops over hooked responses, and what is refused on the way."""

from pathlib import Path

import numpy as np
import pytest
import torch

from psi_core import ModelError, Run, RunError
from psi_core.devices import CPU
from psi_core.engine import analyze
from psi_core.engine.again.run_images import remake_images, reopen
from psi_core.engine.liu import liu_values
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.tables.liu import LiuValues, liu_request
from tests.core.statistics.test_classes import plain_liu
from tests.engine.processes import small_config
from tests.recorded import rewrite_chunk


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four chunks of at most 14 images in batches of 6, two at once; a control of pairs, one with an attack's L2."""
    config = small_config(images=45, batch=6, threads=2, controls="gaussian,donor")
    run = analyze(config, tmp_path_factory.mktemp("runs"))
    assert run.config.abreast == 2
    return run


@pytest.fixture(scope="module")
def found(run: Run) -> LiuValues:
    return liu_values(run, liu_request(run))


def hooked_means(run: Run) -> list[np.ndarray]:
    """The channel means of every layer, (condition, image, channel), by hooks on the images made again."""
    prepared = reopen(run, CPU)
    images, _, made = remake_images(run, prepared, run.index, run.condition_details[1:])
    means: list[list[np.ndarray]] = []
    for changed in (images, *made):
        heard: list[np.ndarray] = []
        handles = [
            module.register_forward_hook(
                lambda _module, _inputs, output, heard=heard: heard.append(
                    output.detach().double().flatten(2).mean(2).numpy() if output.dim() > 2 else output.double().numpy()
                )
            )
            for module in prepared.classifier.network.modules()
            if isinstance(module, torch.nn.ReLU)
        ]
        with torch.inference_mode():
            prepared.classifier(changed)
        for handle in handles:
            handle.remove()
        means.append(heard)
    return [np.stack(layer) for layer in zip(*means, strict=True)]


def test_it_is_what_plain_loops_make_of_hooked_responses(run: Run, found: LiuValues) -> None:
    assert (found.apart, found.same_percent) == (0, 100)
    assert np.array_equal(found.predictions, run.predictions)
    assert np.array_equal(found.labels, run.labels)
    labels = np.unique(run.labels)
    for place, means in enumerate(hooked_means(run)):
        classes = np.array([means[0][run.labels == label].mean(axis=0) for label in labels])
        sd = classes.std(axis=0)
        is_live = sd > 1e-9
        kept = ~is_live | (sd >= 0.1 * np.median(sd[is_live]))
        for at in range(len(run.conditions)):
            expected = plain_liu(means[at][:, kept], classes[:, kept])
            assert found.frozen[at, place] == pytest.approx(expected, abs=1e-5), (place, at)
            live = kept & is_live
            expected = plain_liu(means[at][:, live], classes[:, live])
            assert found.live[at, place] == pytest.approx(expected, abs=1e-5), (place, at)
    assert (found.frozen != found.live).any(), "some layer has dead channels"


def test_fewer_images_and_conditions_have_the_same_values(run: Run, found: LiuValues) -> None:
    request = liu_request(run, 17, ["donor@0.1", "gaussian@0.1"])
    part = liu_values(run, request)
    assert [each.name for each in request.conditions] == ["benign", "fgsm@0.1", "gaussian@0.1", "donor@0.1"]
    places = [run.conditions.index(each.name) for each in request.conditions]
    for ours, whole in ((part.frozen, found.frozen), (part.live, found.live)):
        assert ours == pytest.approx(whole[places, :, :17], abs=1e-5)
    assert part.same_percent == 100
    assert np.array_equal(part.labels, run.labels[:17])


def test_nothing_done_is_no_difference(run: Run, found: LiuValues) -> None:
    assert np.array_equal(found.frozen[run.conditions.index("fgsm@0")], found.frozen[0])


def test_across_images_is_another_yardstick(run: Run, found: LiuValues) -> None:
    other = liu_values(run, liu_request(run, 14, across="images"))
    means = hooked_means(run)[1]
    sd = means[0].std(axis=0)
    kept = sd >= 0.1 * np.median(sd[sd > 0])
    z = ((means[0] - means[0].mean(axis=0))[:, kept]) / sd[kept]
    scaled = (z - z.min(axis=1, keepdims=True)) / np.ptp(z, axis=1, keepdims=True)
    expected = (1 - scaled.mean(axis=1) ** 2 / (scaled**2).mean(axis=1)) / (1 - 1 / z.shape[1])
    assert other.frozen[0, 1] == pytest.approx(expected[:14], abs=1e-5)
    assert not np.allclose(other.frozen[0], found.frozen[0, :, :14])


def test_every_image_is_told_of_and_an_interruption_ends_it(run: Run) -> None:
    told = []
    liu_values(run, liu_request(run, 17), told.append)
    assert [event.done for event in told] == [6, 12, 14, 17]
    assert {event.total for event in told} == {17}
    with pytest.raises(KeyboardInterrupt):
        liu_values(run, liu_request(run), is_interrupted=lambda: True)


def test_other_weights_and_other_numbers_are_refused(tmp_path: Path) -> None:
    run = analyze(small_config(images=20), tmp_path)
    arrays = read_arrays(chunk_path(run.directory, 1))
    arrays["psi"][0, 0, 2] += np.float32(1e-3)
    rewrite_chunk(run.directory, 1, arrays)
    changed = Run(run.directory)
    liu_values(changed, liu_request(changed, 14))
    with pytest.raises(RunError, match=r"comes out otherwise here, by up to 1\.0e-03"):
        liu_values(changed, liu_request(changed))
    model = run.directory / "model.json"
    model.write_text(model.read_text().replace(run.model["sha256"], "0" * 64))
    other = Run(run.directory)
    for number in other.finished_chunks:
        rewrite_chunk(run.directory, number, read_arrays(chunk_path(run.directory, number)))
    with pytest.raises(ModelError, match="are others than the run was measured with"):
        liu_values(other, liu_request(other))
