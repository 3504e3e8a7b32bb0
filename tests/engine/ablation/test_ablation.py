"""Ablation: which channels are kept, and that accuracies are those of networks with the others zeroed."""

import numpy as np
import pytest
import torch
from torch import nn

from psi_core.ablation import AblationConfig, Mask
from psi_core.devices import CPU
from psi_core.engine import analyze
from psi_core.engine.ablation import masking
from psi_core.engine.ablation.channel_order import ClassResponses, class_responses, random_ranks, ranks_by_score
from psi_core.engine.ablation.masking import AblationFailedError, ablate, run_ablation
from psi_core.engine.ablation.preparation import prepare_ablation
from psi_core.engine.attacks.attacks import Batch, fgsm
from psi_core.engine.attacks.gradients import input_gradient
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.images import load_dataset, read_inputs
from psi_core.engine.measure.reducer import Reducer
from psi_core.engine.models.checkpoints import find_checkpoint
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.layers import select_calls, trace_network
from psi_core.errors import PsiError
from tests.engine.picture_files import digit_folder
from tests.engine.processes import small_config

NAN = float("nan")
SHARED = {"layer": "conv2", "images": 60, "batch": 25, "threads": 1, "train_images": 200}


def ablation_of(**values):
    """LeNet-5 with its weights in place, over 60 digits in batches of 25 unless told otherwise."""
    ablation = prepare_ablation(AblationConfig(**SHARED | values))
    if ablation.prepared.config.weights == "fitted":
        ablation.prepared.with_checkpoint(find_checkpoint(ablation.prepared.recipe))
    return ablation


def rows_of(**values):
    return run_ablation(ablation_of(**values)).rows


def column(rows, name):
    return [row[name] for row in rows]


@pytest.mark.parametrize(
    ("scores", "shared", "ranks"),
    [
        ([[0.2, 0.9, 0.5]], False, [[2, 0, 1]]),
        ([[1, 3, NAN, 3]], False, [[2, 0, 3, 1]]),
        ([[NAN, NAN, NAN]], False, [[0, 1, 2]]),
        ([[4, 0, 3], [0, 6, 2]], False, [[0, 2, 1], [2, 0, 1]]),
        ([[4, 0, 3], [0, 6, 2]], True, [[2, 0, 1]] * 2),
        ([[4, NAN, NAN], [1, 2.4, NAN]], True, [[0, 1, 2]] * 2),
    ],
)
def test_the_highest_come_first_equal_ones_by_number_and_silent_ones_last(scores, shared, ranks):
    assert ranks_by_score(np.array(scores, float), shared=shared).tolist() == ranks


@pytest.mark.parametrize("batches", [[4], [1, 3], [1, 1, 1, 1]])
def test_responses_of_a_class_are_the_spatial_means_over_its_images(batches):
    responses = torch.tensor([[4.0, 0, 0, 1], [3, 1, 0, 0], [0, 0, 2, 1], [8, 8, 8, 8]])
    pixels = torch.stack([2 * responses, 0 * responses], 2)[..., None].expand(-1, -1, -1, 2)  # Mean: the response.
    model = Classifier(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)), (0.0,), (1.0,)).eval()
    (call,) = select_calls(trace_network(model.network, 4, 2), ["0"], "none", "model")
    labels = torch.tensor([1, 1, 1, 2])
    parts = zip(labels.split(batches), pixels.split(batches), labels.split(batches), strict=True)
    found = class_responses(model, call, Reducer("channel"), 3, parts)
    assert found.images.tolist() == [0, 3, 1]
    assert found.total.tolist() == [[0] * 4, [7, 1, 2, 2], [8] * 4]
    assert found.squares.tolist() == [[0] * 4, [25, 1, 4, 2], [64] * 4]
    assert np.isnan(found.mean_response()[0]).all()
    assert found.mean_response()[1] == pytest.approx([7 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert found.sparseness()[1] == pytest.approx([13 / 25, 1, 1, 1 / 2])
    assert np.isnan(found.sparseness()[2]).all(), "one image tells nothing of a lifetime"
    assert ranks_by_score(found.mean_response(), shared=False)[1].tolist() == [0, 3, 1, 2]
    assert ranks_by_score(found.sparseness(), shared=False)[1].tolist() == [2, 0, 1, 3]


def test_a_channel_silent_for_a_class_is_last_by_sparseness():
    responses = ClassResponses(np.array([2.0]), np.array([[0.0, 2.0, 2.0]]), np.array([[0.0, 2.0, 4.0]]))
    assert ranks_by_score(responses.sparseness(), shared=False).tolist() == [[2, 1, 0]]


def test_random_orders_differ_by_class_layer_and_seed_and_come_again():
    orders = random_ranks(3, "conv2", 10, 16, shared=False)
    assert all(sorted(order) == [*range(16)] for order in orders.tolist())
    assert len({*map(tuple, orders.tolist())}) == 10
    assert np.array_equal(orders, random_ranks(3, "conv2", 10, 16, shared=False))
    assert np.array_equal(orders[:4], random_ranks(3, "conv2", 4, 16, shared=False))
    assert not np.array_equal(orders, random_ranks(3, "conv1", 10, 16, shared=False))
    assert not np.array_equal(orders, random_ranks(4, "conv2", 10, 16, shared=False))
    shared = random_ranks(3, "conv2", 10, 16, shared=True)
    assert sorted(shared[0].tolist()) == [*range(16)]
    assert (shared == shared[0]).all()


@pytest.mark.parametrize(
    ("percent", "channels", "kept"),
    [(0, 16, 0), (0.001, 16, 1), (5, 16, 1), (25, 16, 4), (26, 16, 5), (7, 100, 7), (14.5, 200, 29), (100, 7, 7)],
)
def test_a_share_is_rounded_up(percent, channels, kept):
    for by in ("response", "random"):
        assert AblationConfig(layer="conv2", keep=1).mask(by, percent, channels) == Mask(by, range(kept))
        assert AblationConfig(layer="conv2", drop=1).mask(by, percent, channels) == Mask(by, range(kept, channels))


def test_no_share_grows_by_rounding_of_floats():
    config = AblationConfig(layer="conv2")
    kept = [len(config.mask("random", tenths / 10, 1000).places) for tenths in range(1001)]
    assert kept == [*range(1001)]


@pytest.mark.parametrize("shared", [False, True])
def test_all_channels_are_the_intact_network_and_what_a_run_of_it_gives(tmp_path, shared):
    by = "response,sparseness,random"
    rows = rows_of(keep=[100], by=by, epsilon=[0, 0.1], shared=shared)
    options = {"weights": "fitted", "images": 60, "batch": 25, "epsilon": [0, 0.1], "controls": "sign-noise"}
    run = analyze(small_config(order="first", **options), tmp_path)
    expected = (100 * (run.predictions == run.labels).mean(1)).tolist()
    assert run.conditions == ["benign", "fgsm@0", "fgsm@0.1", "sign-noise@0.1"]
    assert column(rows, "condition") == 3 * run.conditions
    assert column(rows, "accuracy_percent") == pytest.approx(3 * expected)
    assert column(rows, "prediction_agreement_percent") == 12 * [100]
    assert column(rows, "relative_percent") == pytest.approx([100 * each / expected[0] for each in 3 * expected])


def test_a_silenced_layer_leaves_every_image_the_same_answer():
    rows = rows_of(keep=[0], by="response")
    shares = 100 * np.bincount(load_dataset("mnist", "test").labels[:60], minlength=10) / 60
    assert len({*column(rows, "accuracy_percent")}) == 1
    assert rows[0]["accuracy_percent"] in shares


@pytest.mark.parametrize("by", ["response", "sparseness", "random"])
def test_what_is_kept_and_what_is_dropped_complete_each_other(monkeypatch, by):
    masks = []

    def spy(model, call, owners, images, keep):
        masks.append(keep)
        return model(images)

    monkeypatch.setattr(masking, "masked_logits", spy)
    kept = {}
    for selection, counts in (("keep", [0, 2, 8, 16]), ("drop", [16, 14, 8, 0])):
        masks.clear()
        rows = rows_of(**{selection: [0, 10, 50, 100]}, by=by)
        assert column(rows[::3], "channels_kept") == counts
        assert len(masks) == 4 * 3 * 3, "a mask, a condition, a batch"
        kept[selection] = [torch.cat([mask for mask in masks if mask.sum(1)[0] == count]) for count in counts]
    for keep, drop in zip(kept["keep"], kept["drop"], strict=True):
        assert len(keep) == 3 * 60
        assert torch.equal(keep, ~drop)


@pytest.mark.parametrize("shared", [False, True])
def test_accuracy_is_that_of_networks_whose_other_filters_are_zeroed(shared):
    """By hand: mean responses, their order, filters zeroed class by class, the attack on the intact network."""
    ablation = ablation_of(keep=[10], by="response", epsilon=0.1, shared=shared)
    rows = run_ablation(ablation).rows
    model = ablation.prepared.classifier
    features = model.network.features
    train, test = load_dataset("mnist", "train"), load_dataset("mnist", "test")
    responses = features[:5]((read_inputs(train, np.arange(200), 28, 1, CPU) - model.mean) / model.sd).mean((2, 3))
    means = torch.stack([responses[train.labels[:200] == label].double().mean(0) for label in range(10)])
    means = means.mean(0).expand(10, -1) if shared else means
    images, labels = read_inputs(test, np.arange(60), 28, 1, CPU), torch.from_numpy(test.labels[:60])
    _, gradient = input_gradient(model, images, labels)
    attacked = fgsm(Batch(images, gradient, Noise(0, torch.arange(60), 0), labels), 0.1)
    whole = {name: tensor.clone() for name, tensor in features[3].state_dict().items()}
    right, alike = [0, 0], [0, 0]
    for label in range(10):
        shown = [images[labels == label], attacked[labels == label]]
        features[3].load_state_dict(whole)
        intact = [model(each).argmax(1) for each in shown]
        dropped = torch.argsort(means[label], descending=True)[2:]
        features[3].weight[dropped], features[3].bias[dropped] = 0, 0
        for at, each in enumerate(shown):
            choice = model(each).argmax(1)
            right[at] += int((choice == label).sum())
            alike[at] += int((choice == intact[at]).sum())
    assert column(rows, "condition") == ["benign", "fgsm@0.1", "sign-noise@0.1"]
    assert column(rows, "accuracy_percent")[:2] == pytest.approx([100 * count / 60 for count in right])
    assert column(rows, "prediction_agreement_percent")[:2] == pytest.approx([100 * count / 60 for count in alike])
    assert 0 < right[1] < right[0] < 60


def test_batches_of_any_size_give_the_same_rows():
    values = {"keep": "5,50", "by": "response,sparseness,random", "epsilon": "0.03,0.1"}
    assert rows_of(**values, batch=7) == rows_of(**values, batch=60)


def test_layers_that_are_no_activations_are_masked_where_they_are_rectified():
    rows = rows_of(layer="features.3", rectify="relu", keep="25,100", by="response")
    # A convolution's channels that are 0 are those of the ReLU behind it; its own responses order them alike.
    activations = rows_of(layer="conv2", keep="25,100", by="response")
    assert column(rows, "accuracy_percent") == column(activations, "accuracy_percent")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"layer": "conv9"}, "did you mean 'conv"),
        ({"layer": "conv*"}, "stands for 2 layers (conv1, conv2); write one"),
        ({"layer": "features.3"}, "--rectify"),
        ({"train_images": 70_000}, "write at most 60000"),
        ({"train_images": 3}, "of the first 3 training images are of class"),
        ({"train_images": 30, "images": 1, "by": "sparseness"}, None),
        ({"train_images": 16, "images": 1, "by": "response"}, None),
        ({"train_images": 16, "images": 1, "by": "sparseness"}, "1 of the first 16 training images are of class 7"),
        ({"train_images": 3, "shared": True}, None),
        ({"train_images": 3, "shared": True, "by": "sparseness"}, "no class has 2 among the first 3"),
        ({"data": "npz:x.npz", "weights": "random"}, "images, but x.npz has no train part; name data with"),
        ({"data": "npz:y.npz", "weights": "random", "by": "random"}, "there is no file"),
    ],
    ids=str,
)
def test_what_cannot_be_ordered_is_refused_before_any_work(values, said, tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 28, 28), np.uint8), labels=np.arange(4))
    monkeypatch.chdir(tmp_path)
    config = AblationConfig(**SHARED | values)
    if said is None:
        prepare_ablation(config)
        return
    with pytest.raises(PsiError) as refused:
        prepare_ablation(config)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_answer_that_is_no_number_ends_it_with_its_image():
    ablation = ablation_of(by="random")
    ablation.prepared.classifier.network.classifier[0].bias[3] = NAN
    with pytest.raises(AblationFailedError, match="image 0 under benign"):
        run_ablation(ablation)


def test_a_batch_beyond_the_memory_ends_it_with_a_way_out():
    ablation = ablation_of(by="random")

    def forward(images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    ablation.prepared.classifier.forward = forward
    with pytest.raises(AblationFailedError, match=r"a batch of 25 images.*--batch"):
        run_ablation(ablation)


def test_the_command_fits_missing_weights_and_tells_how_far_it_is(tmp_path):
    digit_folder(tmp_path / "digits" / "train", 60)
    digit_folder(tmp_path / "digits" / "test", 30)
    said = []
    values = {"layer": "conv1", "data": f"folder:{tmp_path / 'digits'}", "keep": 50, "by": "random", "threads": 1}
    first = ablate(values, said.append, lambda: False)
    kinds = [event.kind for event in said]
    assert [kind for at, kind in enumerate(kinds) if kinds[at - 1] != kind] == ["phase", "fit", "progress"]
    assert (said[-1].done, said[-1].total) == (30 * 3 * 2, 30 * 3 * 2)
    assert len(first.rows) == 3
    assert ablate(values, said.append, lambda: False) == first
    assert kinds.count("fit") == [event.kind for event in said].count("fit"), "weights are kept"


def test_an_interrupted_command_says_nothing_of_its_rows():
    said = []
    with pytest.raises(KeyboardInterrupt):
        ablate(SHARED, said.append, lambda: len(said) > 2)
    assert {event.kind for event in said} == {"progress"}
    assert len(said) == 3
