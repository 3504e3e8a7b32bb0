"""RunConfig: every wrong value is one sentence with a way out; every right one survives a round trip."""

import json
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi_core.conditions import CONTROL_NAMES
from psi_core.config import MEASURE_NAMES, MODEL_NAMES, WEIGHTS_NAMES, ResolvedConfig, RunConfig
from psi_core.errors import ConfigError, missing_file
from psi_core.measures import DEFAULT_MEASURES
from psi_core.options import parse_mean_sd
from psi_core.runs.run import Run
from tests.recorded import record_run

counts = st.integers(1, 2**40)
auto_counts = counts | st.just("auto")
plain_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]), max_size=20)
configs = st.builds(
    RunConfig,
    model=st.sampled_from(MODEL_NAMES) | plain_text.map(lambda text: f"torchvision:{text}"),
    weights=st.sampled_from(WEIGHTS_NAMES) | plain_text.map(lambda text: f"{text}/a.pt"),
    split=st.sampled_from(["test", "train"]),
    images=counts | st.none(),
    size=st.integers(1, 16_384) | st.none(),
    layers=st.lists(plain_text, min_size=1).map(tuple),
    epsilon=st.lists(st.floats(0, 1), min_size=1).map(tuple),
    controls=st.lists(st.sampled_from(CONTROL_NAMES)),
    measures=st.lists(st.sampled_from(MEASURE_NAMES)),
    seed=st.integers(0, 2**63 - 1),
    device=st.sampled_from(["auto", "cpu", "cuda", "cuda:11"]),
    batch=counts.map(lambda count: 2 * count) | st.just("auto"),  # Even: see `donor`.
    chunk=auto_counts,
    threads=st.integers(1, 1024) | st.just("auto"),
    name=st.sampled_from(["", "a run", "Größe 3", "x@0.03"]),
)

WRONG = [
    ("epsilom", 0.1, "did you mean 'epsilon'?"),
    ("model", "alexnt", "did you mean 'alexnet'?"),
    ("model", 5, "write text"),
    ("weights", "fited", "did you mean 'fitted'?"),
    ("weights", "", ".safetensors, .pt or .pth file"),
    ("data", "mnst", "did you mean 'mnist'?"),
    ("split", "validation", "write one of test, train"),
    ("split", None, "write one of test, train"),
    ("images", 0, "write a number greater than or equal to 1"),
    ("images", "0\n", "write a number greater than or equal to 1"),
    ("images", "many", "write a whole number"),
    ("images", 1.5, "write a whole number"),
    ("images", float("inf"), "write a whole number"),
    ("images", True, "leave the key out"),
    ("normalize", "0.5", "MEAN/SD such as 0.1307/0.3081"),
    ("normalize", "0.5,0.5/0.1", "MEAN/SD such as 0.1307/0.3081"),
    ("normalize", "0.5/0", "MEAN/SD such as 0.1307/0.3081"),
    ("normalize", "nan/1", "MEAN/SD such as 0.1307/0.3081"),
    ("layers", " , ", "write names such as conv1,fc2"),
    ("layers", 3, "write text"),
    ("unit", "neurons", "did you mean 'neuron'?"),
    ("channel_axis", "blocks.*", "write PATTERN=AXIS such as blocks.*=2"),
    ("channel_axis", "conv1=1,fc1=0", "'fc1=0' does not fit"),
    ("channel_axis", "=2", "write PATTERN=AXIS"),
    ("rectify", "absolute", "write one of none, relu, abs"),
    ("attack", "", "write one of fgsm"),
    ("attack", "FGSM", "did you mean 'fgsm'?"),
    ("attack", {"fgsm": 1}, "write a list, or text with commas"),
    ("epsilon", [], "write at least one, such as 0.03"),
    ("epsilon", "8/0", "write a number such as 0.03, or 8/255"),
    ("epsilon", "8/x", "write a number such as 0.03, or 8/255"),
    ("epsilon", "/255", "or 8/255"),
    ("epsilon", "300/255", "write one such as 0.03"),
    ("epsilon", "-1/255", "-1/255 lies outside 0 to 1"),
    ("epsilon", "small", "write a number such as 0.03, or 8/255"),
    ("epsilon", 8, "write 8/255"),
    ("epsilon", 300, "write one such as 0.03"),
    ("epsilon", 1.0000001, "epsilon: 1.0000001 lies outside"),
    ("epsilon", -0.1, "write one such as 0.03"),
    ("epsilon", float("inf"), "write one such as 0.03"),
    ("epsilon", float("nan"), "write one from 0 to 1"),
    ("epsilon", [0.1, True], "leave the key out"),
    ("epsilon", None, "write a list"),
    ("controls", "sign-nose", "did you mean 'sign-noise'?"),
    ("controls", "None", "did you mean 'none'?"),
    ("controls", "none,sign-noise", "write none, or sign-noise"),
    ("measures", "ginny", "did you mean 'gini'?"),
    ("attack", "foolbox:", "foolbox:NAME"),
    ("target", "leastlikely", "did you mean 'least-likely'?"),
    ("steps", 0, "write a number greater than or equal to 1"),
    ("restarts", 0, "write a number greater than or equal to 1"),
    ("step_size", 0, "write a number greater than 0"),
    ("step_size", "fast", "or auto"),
    ("labels", "ture", "did you mean 'true'?"),
    ("seed", -1, "write a number greater than or equal to 0"),
    ("seed", 2**63, f"write a number less than {2**63}"),
    ("precision", "fp32", "exact"),
    ("device", "gpu", "write auto, cpu, cuda, or cuda:K"),
    ("device", "cuda:²", "cuda:K such as cuda:0"),
    ("devices", 0, "write a number greater than or equal to 1"),
    ("batch", 0, "write a number greater than or equal to 1"),
    ("batch", "+-5", "or auto"),
    ("chunk", "²", "or auto"),
    ("threads", None, "or auto"),
    ("name", "a/b", "use letters, digits"),
    ("name", " latest ", "write another"),
]


@pytest.mark.parametrize(("field", "value", "way_out"), WRONG)
def test_a_wrong_value_is_one_sentence_with_a_way_out(field, value, way_out):
    with pytest.raises(ConfigError) as caught:
        RunConfig(**{field: value})
    sentence = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert sentence.startswith(f"{field}: " if field in RunConfig.model_fields else "config key: ")
    assert way_out in sentence
    assert "\n" not in sentence
    assert caught.value.__suppress_context__, "pydantic's own traceback stays out of sight"


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
nested = anything | st.lists(anything, max_size=3) | st.dictionaries(st.text(max_size=3), anything, max_size=2)


@given(st.sampled_from(sorted(RunConfig.model_fields)), nested)
def test_any_value_is_either_taken_or_refused_in_one_line_that_names_the_field(field, value):
    try:
        config = RunConfig(**{field: value})
    except ConfigError as error:
        assert str(error).startswith(f"{field}: ")
        assert "; " in str(error)
        assert len(str(error).splitlines()) == 1
    else:
        assert RunConfig(**json.loads(config.model_dump_json())) == config


@given(configs)
def test_json_gives_the_same_run_back(config):
    assert RunConfig(**json.loads(config.model_dump_json())) == config


@given(config=configs)
def test_toml_gives_the_same_run_back(config):
    assert RunConfig(**tomllib.loads(config.to_toml())) == config


def test_what_is_typed_beats_the_file(tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text('model = "alexnet"\nepsilon = [0.1, 0.03]\nimages = 500\n', encoding="utf-8")
    config = RunConfig.from_toml(spec, epsilon="0.2", size="64")
    assert (config.model, config.epsilon, config.images, config.size) == ("alexnet", (0.2,), 500, 64)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"epsilon 0.1", "not a TOML file"),
        (b"\xff", "not a TOML file"),
        (b"images = " + b"[" * 100_000, "not a TOML file"),
        (b"[run]\n", "config key: there is no 'run'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, content, sentence):
    spec = tmp_path / "spec.toml"
    spec.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        RunConfig.from_toml(spec)


def test_a_spec_that_is_no_path_is_refused():
    with pytest.raises(ConfigError, match="None: not a TOML file"):
        RunConfig.from_toml(None)


NAMELESS = ("-rf", "--name", " -x", " ", "\t", "\N{NO-BREAK SPACE}", ".", "..", "latest", "a/b", "a\nb")


@pytest.mark.parametrize("name", NAMELESS)
def test_a_name_that_a_shell_cannot_hand_on_is_refused(name):
    with pytest.raises(ConfigError, match=r"^name: "):
        RunConfig(name=name)
    assert RunConfig(name="a-b ").name == "a-b"


def test_an_older_run_of_such_a_name_is_read_and_resumed(own_folders):
    directory = record_run(own_folders, name="-rf")
    run = Run(directory)
    assert run.name == "-rf"
    assert run.config.asked(devices=1).name == ""


@pytest.mark.parametrize("name", ["", "missing.toml"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="write the path of a TOML file"):
        RunConfig.from_toml(tmp_path / name)


def test_a_misspelt_file_is_answered_with_the_one_beside_it(tmp_path):
    (tmp_path / "spec.toml").touch()
    (tmp_path / "spce.txt").touch()
    spec = tmp_path / "spce.toml"
    with pytest.raises(ConfigError) as refused:
        RunConfig.from_toml(spec)
    assert str(refused.value) == f"spec: there is no file {spec}; did you mean {tmp_path / 'spec.toml'}?"
    assert missing_file("data", tmp_path / "spec.toml", "name a folder", "folder").endswith("is a file; name a folder")
    assert missing_file("spec", tmp_path, "name a file").endswith("is a folder; name a file")
    for model in ("lenet5", "mine.py:small"):
        with pytest.raises(ConfigError, match=f"there is no file {model}; write --model {model}"):
            RunConfig.from_toml(model)


def test_lists_may_be_text_with_commas():
    typed = RunConfig(epsilon="0.03, 0.1,", layers="conv1,fc*", controls="anti-fgsm", measures="mean_response")
    listed = RunConfig(epsilon=[0.03, 0.1], layers=["conv1", "fc*"], controls=["anti-fgsm"], measures=["mean_response"])
    assert typed == listed
    assert RunConfig(epsilon=0.1).epsilon == RunConfig(epsilon=np.float64(0.1)).epsilon == (0.1,)
    assert RunConfig(epsilon=np.float32(0.25)).epsilon == (0.25,)


def test_numbers_may_be_text():
    config = RunConfig(images="500", batch="64", chunk="auto", seed="7")
    assert (config.images, config.batch, config.chunk, config.seed) == (500, 64, "auto", 7)


def test_duplicates_are_taken_once_in_the_order_given():
    config = RunConfig(epsilon=[0.1, 0.03, 0.1], layers="b,a,b", attack="fgsm,fgsm", controls="anti-fgsm,anti-fgsm")
    assert (config.epsilon, config.layers) == ((0.1, 0.03), ("b", "a"))
    assert (config.attack, config.controls) == (("fgsm",), ("anti-fgsm",))


@pytest.mark.parametrize("zeros", ["-0", "0,-0.0", -0.0])
def test_minus_zero_is_zero(zeros):
    assert [c.name for c in RunConfig(epsilon=zeros).conditions] == ["benign", "fgsm@0"]


def test_psi_is_always_measured_and_first():
    assert RunConfig(measures="mean_response").measures == ("psi", "mean_response")
    assert RunConfig(measures=[]).measures == ("psi",)


@pytest.mark.parametrize("none", ["none", "", [], ["none"]])
def test_controls_can_be_left_out(none):
    assert RunConfig(controls=none).controls == ()


def test_several_attacks_and_one_of_foolbox_make_one_run():
    config = RunConfig(attack="fgsm,pgd,foolbox:LinfDeepFoolAttack", epsilon="0,0.1", controls="gaussian")
    names = ("fgsm@0", "fgsm@0.1", "pgd@0", "pgd@0.1")
    deepfool = "foolbox:LinfDeepFoolAttack"
    expected = ["benign", *names, deepfool, f"{deepfool}@0", f"{deepfool}@0.1", "gaussian@0.1"]
    assert [c.name for c in config.conditions] == expected


def test_gaussian_noise_without_an_attack_to_size_it_is_refused():
    with pytest.raises(ConfigError, match="name one with --attack"):
        RunConfig(attack="none", attacked="npz:a.npz", controls="gaussian")


def test_the_default_run_is_the_study_with_its_controls():
    config = RunConfig()
    assert [c.name for c in config.conditions] == [
        "benign",
        *(f"{name}@0.03" for name in ("fgsm", "sign-noise", "gaussian", "anti-fgsm")),
    ]
    assert (config.model, config.weights, config.data, config.split) == ("lenet5", "fitted", "mnist", "test")
    assert config.attack == ("fgsm",)
    assert (config.target, config.measures) == ("none", DEFAULT_MEASURES)


@pytest.mark.parametrize(
    ("model", "weights"), [("a.py:f", "built"), ("a.b:f", "built"), ("torchvision:resnet18", "fitted")]
)
def test_a_factory_keeps_its_weights_unless_told_otherwise(model, weights):
    assert RunConfig(model=model).weights == weights
    assert RunConfig(model=model, weights="random").weights == "random"


def test_a_config_is_a_value():
    config = RunConfig()
    assert hash(config) == hash(RunConfig())
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1


LEFT_TO_THE_ENGINE = ("images", "size", "device", "batch", "chunk", "threads")
FOUND_OUT = ("memory_format", "own_distances", "abreast")
CHOSEN = {"images": 60, "size": 28, "device": "cpu", "batch": 20, "chunk": 40, "threads": 2}


def test_a_resolved_run_has_the_options_of_an_asked_one_in_their_order():
    assert list(ResolvedConfig.model_fields) == [*RunConfig.model_fields, *FOUND_OUT]


@pytest.mark.parametrize("option", LEFT_TO_THE_ENGINE)
def test_a_resolved_run_leaves_nothing_to_the_engine(option):
    for value in ({}, {option: None}, {option: "auto"}):
        with pytest.raises(ConfigError, match=f"^{option}: "):
            ResolvedConfig(**{name: chosen for name, chosen in CHOSEN.items() if name != option}, **value)


@given(configs)
def test_a_resolved_run_asks_for_itself(config):
    resolved = ResolvedConfig(**{**config.model_dump(), **CHOSEN})
    asked = resolved.asked()
    assert asked == RunConfig(**{**config.model_dump(), **CHOSEN})
    assert asked.model_dump(mode="json") == resolved.model_dump(mode="json", exclude=set(FOUND_OUT))
    assert ResolvedConfig(**json.loads(resolved.model_dump_json())) == resolved
    assert resolved.asked(device="auto", images=None) == RunConfig(
        **{**config.model_dump(), **CHOSEN, "device": "auto", "images": None}
    )


def test_mean_and_sd_per_channel():
    assert parse_mean_sd("0.1307/0.3081") == ((0.1307,), (0.3081,))
    assert parse_mean_sd("0.5,0.4,0.3/1,2,3") == ((0.5, 0.4, 0.3), (1, 2, 3))


def test_default_controls_go_without_those_that_need_an_attack():
    alone = {"attack": "none", "attacked": "npz:a.npz"}
    assert RunConfig().controls == ("sign-noise", "gaussian", "anti-fgsm")
    assert RunConfig(**alone).controls == ("sign-noise", "anti-fgsm")
    assert (
        RunConfig.model_validate(RunConfig(**alone).model_dump(exclude_unset=True)).controls
        == RunConfig(**alone).controls
    )
    with pytest.raises(ConfigError, match="gaussian takes its size from an attack"):
        RunConfig(**alone, controls="sign-noise,gaussian")
