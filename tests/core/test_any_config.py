"""Any configuration and any SPEC.toml: accepted and the same after a round trip, or refused by its field's name."""

import json
import re
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi_core.config import RunConfig
from psi_core.errors import ConfigError

FIELDS = tuple(RunConfig.model_fields)

EXAMPLES = [400, pytest.param(30_000, marks=[pytest.mark.long, pytest.mark.timeout(3000)])]
"""How many are tried."""

RIGHT = {
    "model": ("alexnet", "lenet5", "torchvision:resnet18", "a.py:f", "hf:x/y"),
    "weights": ("fitted", "random", "imagenet", "built", "a.pt"),
    "data": ("mnist", "folder:x", "npz:x.npz"),
    "split": ("test", "train"),
    "images": (None, 1, "7", 10**6),
    "order": ("sample", "first"),
    "size": (None, 28, "224"),
    "resize": (None, 32),
    "normalize": ("auto", "none", "imagenet", "0.1307/0.3081", "1,2,3/4,5,6"),
    "layers": ("relu", "all", "conv*,fc1", ["conv1"], "größe"),
    "unit": ("neuron", "channel"),
    "channel_axis": ("", "conv1=2"),
    "rectify": ("none", "relu", "abs"),
    "attack": ("fgsm", "pgd,fgsm", ["bim"], "none", "foolbox:L2PGD:steps=3"),
    "epsilon": (0.03, "8/255", "0,1e-3", [0, 1], "16/255,0.1"),
    "target": ("none", "least-likely", "random", "next"),
    "steps": (1, "10"),
    "step_size": ("auto", 0.25, "1"),
    "restarts": (1, 3),
    "loss": ("margin", "cross-entropy"),
    "attacked": ("", "npz:x.npz", "folder:y", "npy:a.npy[1:2]"),
    "controls": ("none", "gaussian", "sign-noise,donor", ["shuffled-fgsm"]),
    "measures": ("psi", "psi,gini", ["entropy", "hoyer"]),
    "labels": ("true", "predicted"),
    "seed": (0, "7", 2**63 - 1),
    "precision": ("exact", "tf32", "bf16"),
    "device": ("auto", "cpu", "cuda", "cuda:3"),
    "devices": (1, "2"),
    "batch": ("auto", 2, "64"),
    "chunk": ("auto", 3),
    "threads": ("auto", 1, "1024"),
    "compile": (True, False),
    "class_order": ("auto", "text", "number"),
    "skip_unreadable": (True, False),
    "name": ("", "Größe 3", "x@0.03"),
}
"""Values that fit each option, if the others agree."""

LIKELY = tuple(value for each in RIGHT.values() for value in each if not isinstance(value, list))

scalars = st.one_of(
    st.sampled_from(LIKELY),
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)
keys = st.sampled_from(FIELDS) | st.text(max_size=8)
right_values = st.fixed_dictionaries({}, optional={name: st.sampled_from(fitting) for name, fitting in RIGHT.items()})
sets_of_values = st.builds(
    lambda right, kept, wrong: {**dict(list(right.items())[:kept]), **wrong},
    right_values,
    st.integers(0, 40),
    st.dictionaries(keys, values, max_size=1),
)


def settle(count):
    """As many examples as that, the same ones at every run."""
    return settings(max_examples=count, derandomize=count < 1000, deadline=None, database=None)


def taken(make):
    """The configuration, or None where it is refused as it ought to be."""
    try:
        return make()
    except ConfigError as error:
        sentence = str(error)
    assert "\n" not in sentence.rstrip("\n") or "\\n" in sentence, sentence
    where, _, rest = sentence.partition(": ")
    assert where in (*FIELDS, "config key"), sentence
    assert re.search(r"; |did you mean|write ", rest), sentence
    return None


def test_every_option_has_values_that_fit_it():
    assert RIGHT.keys() == set(FIELDS)
    for name, fitting in RIGHT.items():
        for value in fitting:
            RunConfig(**{name: value})


@pytest.mark.parametrize("count", EXAMPLES)
def test_a_configuration_survives_json_and_toml_or_is_refused_by_name(count, tmp_path):
    accepted = [0]
    path = tmp_path / "spec.toml"

    @settle(count)
    @given(sets_of_values)
    def law(given_values):
        config = taken(lambda: RunConfig(**given_values))
        if config is None:
            return
        accepted[0] += 1
        assert RunConfig(**json.loads(config.model_dump_json())) == config
        path.write_text(config.to_toml(), encoding="utf-8")
        assert RunConfig.from_toml(path) == config

    law()
    assert accepted[0] > count / 20, "mostly what cannot stand was tried"


@pytest.mark.parametrize("count", EXAMPLES)
def test_a_spec_file_is_read_or_refused_in_a_sentence(count, tmp_path):
    path = tmp_path / "spec.toml"
    lines = st.one_of(
        st.builds(lambda key, value: f"{key} = {json.dumps(value)}".encode(), st.sampled_from(FIELDS), values),
        st.binary(max_size=12),
        st.sampled_from(
            [b"[table]", b"model.name = 3", b"epsilon = 1979-05-27", b"a = inf", b"images = 0x10", b"\xff"]
        ),
    )

    @settle(count)
    @given(st.lists(lines, max_size=4).map(b"\n".join))
    def law(data):
        path.write_bytes(data)
        try:
            tomllib.loads(path.read_text(encoding="utf-8"))  # Lines may end as on any system.
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            with pytest.raises(ConfigError, match=r": not a TOML file \(.*\); write lines such as"):
                RunConfig.from_toml(path)
        except RecursionError:
            with pytest.raises(ConfigError):
                RunConfig.from_toml(path)
        else:
            taken(lambda: RunConfig.from_toml(path))

    law()
