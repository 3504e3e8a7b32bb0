"""Factories: the user's own code, found, called and asked what it takes; refused in its own words."""

import io
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from psi_core.config import RunConfig
from psi_core.engine.models.sources import blank_network, build_classifier, input_channels, model_source
from psi_core.engine.preparation import prepare
from psi_core.errors import ModelError
from tests.engine.networks import images_of

FACTORIES = """
import torch

CLASSES = 10

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, CLASSES), torch.nn.ReLU())

    def forward(self, images):
        return self.flat(images)

def network():
    return Net()

def sized():
    net = Net()
    net.input_size = (1, 8, 8)
    return net

def number():
    return 3
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A file of factories; also importable as `places.of_mine`."""
    path = tmp_path / "places" / "of_mine.py"
    path.parent.mkdir()
    path.write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield path
    # Not a copy of all modules: torch imports more of itself meanwhile, and holds on to it.
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("places", "neighbor") or name.startswith("psi_model_"):
            del sys.modules[name]


@pytest.mark.parametrize("place", ["places.of_mine", "{path}"])
def test_a_factory_is_the_users_own_code(place, factories):
    place = place.format(path=factories)
    source = model_source(f"{place}:sized")
    assert source.input_size(None) == 8
    assert source.normalization == "none"
    assert source.imagenet is None
    assert build_classifier(source, 1000, "none")(images_of(2)).shape == (2, 10)


def test_a_factory_that_names_no_size_needs_one(factories):
    source = model_source(f"{factories}:network")
    assert source.input_size(8) == 8
    with pytest.raises(ModelError, match="does not say what input it takes; write --size"):
        source.input_size(None)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("netwrok", "there is no 'netwrok'; did you mean 'network'"),
        ("CLASSES", "there is no 'CLASSES'"),
        ("", "there is no ''"),
        ("CLASSES", "no 'CLASSES' that makes a network, but one of type int; name a function or class"),
        ("number", "returned int; it must return a torch.nn.Module"),
    ],
)
def test_a_misspelt_factory_is_refused(function, text, factories):
    with pytest.raises(ModelError, match=text):
        model_source(f"{factories}:{function}")


def test_a_file_that_is_no_python_is_refused(factories):
    factories.write_text("def network(:\n")
    (factories.parent / "bare.py").write_text("import math\n")
    with pytest.raises(ModelError, match="has no function or class; write one that gives"):
        model_source(f"{factories.parent / 'bare.py'}:network")
    for place in (factories, "places.of_mine"):
        with pytest.raises(ModelError, match=r"of_mine.* cannot be imported"):
            model_source(f"{place}:network")


def test_a_file_named_like_a_module_does_not_take_its_place(factories):
    import json

    path = factories.with_name("json.py")
    path.write_text(FACTORIES)
    assert isinstance(model_source(f"{path}:sized").build(10), nn.Module)
    assert sys.modules["json"] is json


@pytest.mark.parametrize("place", ["late", "{path}"])
def test_its_folder_comes_last_and_only_for_its_own_code(place, tmp_path, monkeypatch):
    (tmp_path / "tabnanny.py").write_text("raise SystemExit('hijacked')\n")
    (tmp_path / "beside.py").write_text("from torch.nn import Linear as LAYER\n")
    late = "import beside, sys, tabnanny, torch\ndef build():\n    import tabnanny\n    from beside2 import SIZE\n"
    late += "    return torch.nn.Sequential(torch.nn.Flatten(), beside.LAYER(64, SIZE))\n"
    (tmp_path / "late.py").write_text(late)
    (tmp_path / "beside2.py").write_text("SIZE = 3\n")
    for name in ("late", "tabnanny", "beside", "beside2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = [each for each in sys.path if each]
    monkeypatch.setattr(sys, "path", list(before))
    monkeypatch.chdir(tmp_path)
    assert model_source(f"{place.format(path=tmp_path / 'late.py')}:build").build(10)[1].out_features == 3
    assert sys.path == before


BUILD = "def build():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, WIDTH))\n"


@pytest.mark.parametrize("place", ["{path}", "net"])
def test_code_is_read_anew_and_that_of_another_project_never_taken(place, tmp_path, monkeypatch):
    for name, width in (("one", 3), ("other", 5), ("other", 70)):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "beside.py").write_text(f"WIDTH = {width}\n")
        (folder / "net.py").write_text(f"import torch\nfrom beside import WIDTH\n{BUILD}")
        monkeypatch.chdir(folder)
        source = model_source(f"{place.format(path=folder / 'net.py')}:build")
        assert source.build(10)[1].out_features == width


@pytest.mark.parametrize("is_package", [True, False])
def test_a_library_is_imported_once_wherever_it_lies(is_package, tmp_path, monkeypatch):
    library = tmp_path / "project" / ".venv" / "lib" / "python3" / "dist-packages"
    library.mkdir(parents=True)
    (library / "wide").mkdir()
    (library / "wide" / ("__init__.py" if is_package else "more.py")).write_text("WIDTH = 3\n")
    (library / "narrow.py").write_text("")
    monkeypatch.syspath_prepend(library)
    name = "wide" if is_package else "wide.more"
    (tmp_path / "project" / "net.py").write_text(f"import narrow, torch\nfrom {name} import WIDTH\n{BUILD}")
    try:
        model_source(f"{tmp_path / 'project' / 'net.py'}:build")
        first = [sys.modules[each] for each in ("narrow", name)]
        model_source(f"{tmp_path / 'project' / 'net.py'}:build")
        assert [sys.modules[each] for each in ("narrow", name)] == first
    finally:
        for each in ("narrow", "wide", "wide.more"):
            sys.modules.pop(each, None)


@pytest.mark.parametrize("is_package", [True, False])
@pytest.mark.parametrize(
    "imports",
    ["from .blocks import WIDTH", "from layers.blocks import WIDTH", "from . import blocks\nWIDTH = blocks.WIDTH"],
)
def test_a_file_of_a_package_finds_its_neighbors(imports, is_package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "project" / "layers"
    folder.mkdir(parents=True)
    (folder / "blocks.py").write_text("WIDTH = 3\n")
    (folder / "net.py").write_text(f"import torch\n{imports}\n{BUILD}")
    if is_package:
        (folder / "__init__.py").touch()
    assert model_source(f"{folder / 'net.py'}:build").build(10)[1].out_features == 3


def test_a_file_reaches_above_its_package(tmp_path):
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    for name in ("outer/__init__.py", "outer/inner/__init__.py"):
        (tmp_path / name).touch()
    (tmp_path / "outer" / "blocks.py").write_text("WIDTH = 3\n")
    (folder / "net.py").write_text(f"import torch\nfrom ..blocks import WIDTH\n{BUILD}")
    assert model_source(f"{folder / 'net.py'}:build").build(10)[1].out_features == 3


BROKEN = """
import torch
from neighbor import LAYER

def needs(classes):
    return torch.nn.Linear(3, classes)

def fails():
    return torch.nn.Linear(3, 2).wieght

def lazy():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))

def random():
    return torch.nn.Sequential(torch.nn.Flatten(), LAYER(64, 3))

def counts():
    net = random()
    net.total = net[1].weight.detach().sum().item()
    return net

built = random()
locked = random()
locked.lock = __import__("threading").Lock()
"""


@pytest.fixture
def broken(factories, monkeypatch):
    """A file of factories of which some cannot be used; it needs the file beside it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    factories.with_name("neighbor.py").write_text("from torch.nn import Linear as LAYER\n")
    path = factories.with_name("broken.py")
    path.write_text(BROKEN)
    return path


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("needs", r"broken.py:needs cannot be called \(TypeError: needs\(\) missing 1 .*; mend it, or give defaults"),
        ("fails", r"AttributeError: 'Linear' object has no attribute 'wieght'.* line \d+"),
        ("locked", r"locked cannot be copied \(TypeError: .*lock.*\); name a function that makes it"),
        ("lazy", "has lazy layers without a shape; run one image through it in the factory"),
    ],
)
def test_a_factory_that_fails_is_refused_with_its_own_words(function, text, broken):
    with pytest.raises(ModelError, match=text):
        model_source(f"{broken}:{function}")


def test_a_file_that_fails_on_import_is_refused_with_the_line(factories):
    factories.write_text("import torch\n\nlayer = torch.nn.Lniear\n")
    with pytest.raises(ModelError, match=r"cannot be imported \(AttributeError: .*Lniear.*, of_mine.py line 3\)"):
        model_source(f"{factories}:network")


def test_a_file_finds_its_neighbors_and_leaves_the_random_state(broken):
    before = torch.get_rng_state()
    source = model_source(f"{broken}:random")
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first = source.build(10)[1].weight
        torch.manual_seed(3)
        assert torch.equal(source.build(10)[1].weight, first)


def test_a_network_itself_may_stand_for_a_factory_and_is_copied(broken):
    source = model_source(f"{broken}:built")
    one, other = source.build(10), source.build(10)
    assert torch.equal(one[1].weight, other[1].weight)
    assert one[1].weight is not other[1].weight


def test_a_factory_that_computes_with_its_weights_has_a_blank_network_too(broken):
    source = model_source(f"{broken}:counts")
    assert blank_network(source, 10).state_dict().keys() == {"1.weight", "1.bias"}


@pytest.mark.parametrize("weights", ["built", "file"])
def test_channels_classes_and_size_of_a_factory_are_found_out(weights, tmp_path, factories):
    text = FACTORIES.replace("CLASSES = 10", "CLASSES = 7").replace("Linear(64,", "Linear(3 * 12 * 12,")
    factories.write_text(text)
    values = {"model": f"{factories}:network", "images": 3, "size": 12, "labels": "predicted", "normalize": "imagenet"}
    if weights == "file":
        state = model_source(values["model"]).build(0).state_dict()
        torch.save(state, tmp_path / "mine.pt")
        values["weights"] = str(tmp_path / "mine.pt")
    prepared = prepare(RunConfig(**values))
    assert (prepared.trace.classes, input_channels(prepared.classifier.network)) == (7, 3)
    assert prepared.config.weights == (str(tmp_path / "mine.pt") if weights == "file" else "built")
    if weights == "file":
        assert torch.equal(prepared.classifier.network.flat[1].weight, state["flat.1.weight"])


@pytest.mark.parametrize("size", ["'28'", "28.0", "[1, 8, None, 'x']"])
def test_an_input_size_that_is_no_number_of_pixels_is_refused(size, factories):
    factories.write_text(FACTORIES.replace("(1, 8, 8)", size))
    with pytest.raises(ModelError, match=r"has input_size .*; write pixels, or"):
        model_source(f"{factories}:sized")


@pytest.mark.parametrize(
    "code",
    [
        "import argparse\nassert not argparse.ArgumentParser().parse_known_args()[1]",
        "torch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)\nimport os\nos.chdir('/')",
        "torch.set_default_device('meta')",
        "torch.set_default_device('cuda')",
        "torch.set_autocast_enabled('cpu', True)\ntorch.set_autocast_dtype('cpu', torch.float16)",
    ],
)
def test_what_a_file_does_on_import_stays_in_it(code, factories, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["psi_core", "answer"])

    def settings():
        kinds = torch.get_default_dtype(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        return Path.cwd(), *kinds, torch.get_default_device(), torch.is_grad_enabled()

    before = settings()
    factories.write_text(f"{FACTORIES}\n{code}\n")
    assert model_source(f"{factories}:sized").size == 8
    assert settings() == before
    assert sys.argv == ["psi_core", "answer"]


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nsys.exit('trained')",
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--data', required=True)\np.parse_args()",
        "open('train.csv')",
        "import pickle\nraise pickle.PicklingError('no')",
        "input('epochs? ')",
    ],
)
def test_a_file_that_runs_on_import_is_told_what_to_guard(code, factories, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    factories.write_text(f"{FACTORIES}\n{code}\n")
    with pytest.raises(ModelError, match=r"of_mine.py line \d+\); put what parses .* under if __name__ == '__main__':"):
        model_source(f"{factories}:sized")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize("code", ["model = Net().cuda()", "def cuda_net():\n    return Net().to('cuda')"])
def test_code_that_asks_for_a_gpu_is_told_who_moves_it(code, factories):
    factories.write_text(f"{FACTORIES}\n{code}\n")
    with pytest.raises(ModelError, match=r"of_mine.py line \d+\); take \.cuda\(\) .* out of its code: --device"):
        model_source(f"{factories}:cuda_net")


def test_a_factory_that_exits_is_refused(factories):
    factories.write_text(FACTORIES + "\ndef quits():\n    raise SystemExit(1)\n")
    with pytest.raises(ModelError, match=r"quits cannot be called \(SystemExit: 1, of_mine.py line \d+\)"):
        model_source(f"{factories}:quits")
