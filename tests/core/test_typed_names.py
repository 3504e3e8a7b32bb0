"""Names as researchers type them: each refusal says the nearest thing that works, and that thing works."""

import re

import pytest

from psi_core.ablation import AblationConfig
from psi_core.config import RunConfig
from psi_core.errors import ConfigError
from psi_core.statistics.paired import subset_named
from psi_core.typed_names import TORCHVISION_DATA, TORCHVISION_MODELS

NET = """
import torch.nn as nn
from torch import nn as n
class Block(nn.Module): ...
class Net(nn.Module): ...
class Config: ...
def make(): return Net()
def _hidden(): ...
"""


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(NET)
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("def (\n")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)


MODELS = [
    ("mine.py", "of it Block, Net, Config, make may make the network; write mine.py:Net"),
    ("./mine.py", "write ./mine.py:Net"),
    ("empty.py", "has no function or class"),
    ("broken.py", "no Python that can be read"),
    ("other.py", "there is no file other.py; write file.py:NAME"),
    ("resnet50", "write torchvision:resnet50"),
    ("ResNet-18", "write torchvision:resnet18"),
    ("vgg16", "write torchvision:vgg16"),
    ("models.resnet18", "write torchvision:resnet18"),
    ("torchvision.models.densenet121", "write torchvision:densenet121"),
    ("torchvision/mobilenet_v2", "write torchvision:mobilenet_v2"),
    ("vit_base_patch16_224", "write timm:vit_base_patch16_224"),
    ("net.pt", "a file of weights; write .* --weights net.pt"),
    ("runs/best.CKPT", "a file of weights"),
    ("model.safetensors", "a file of weights"),
    ("notebook.ipynb:Net", "jupyter nbconvert --to script notebook.ipynb, and notebook.py:Net"),
    ("notebook.ipynb", "and notebook.py:NAME"),
    ("mypackage.models.Net", "write mypackage.models:Net"),
    ("pictures", "is a folder; write file.py:NAME"),
    ("hub", "a folder of Hugging Face's; write hf:hub"),
    ("google/vit-base-patch16-224", "write hf:google/vit-base-patch16-224"),
    ("alexnt", "did you mean 'alexnet'"),
]
DATA = [
    ("./pictures", "write folder:./pictures"),
    ("pictures", "write folder:pictures"),
    ("./nowhere", "there is no folder ./nowhere"),
    ("x.npz", "write npz:x.npz"),
    ("x.npy", "np.savez, and write npz:PATH"),
    ("data.tar.gz", "unpack it"),
    ("cifar10", "write torchvision:CIFAR10"),
    ("CIFAR-100", "write torchvision:CIFAR100"),
    ("fashion-mnist", "write torchvision:FashionMNIST"),
    ("torchvision.datasets.SVHN", "write torchvision:SVHN"),
    ("imagenet", "torchvision:ImageNet@FOLDER"),
    ("MNIST", "write mnist"),
    ("mnst", "did you mean 'mnist'"),
]
ATTACKS = [
    ("cw", "write foolbox:L2CarliniWagnerAttack"),
    ("C&W", "write foolbox:L2CarliniWagnerAttack"),
    ("carlini-wagner", "write foolbox:L2CarliniWagnerAttack"),
    ("deepfool", "write foolbox:L2DeepFoolAttack"),
    ("DeepFoolAttack", "write foolbox:L2DeepFoolAttack"),
    ("autoattack", "write pgd with --restarts 10"),
    ("apgd", "write pgd with --restarts 10"),
    ("apgd-ce", "--loss cross-entropy"),
    ("hopskipjump", "write foolbox:HopSkipJumpAttack"),
    ("i-fgsm", "write bim"),
    ("pgd-l2", "write foolbox:L2PGD"),
    ("mifgsm", "write mi-fgsm"),
    ("gaussian", "--controls gaussian"),
    ("fgsm,cw", "write foolbox:L2CarliniWagnerAttack"),
    ("pdg", "did you mean 'pgd'"),
]
OTHERS = {
    "precision": [
        *((name, "write exact$") for name in ("fp32", "float32", "torch.float32", "Full", "single")),
        *((name, "write bf16, which has .* 16 bits, or exact$") for name in ("fp16", "float16", "half")),
        ("float64", "write exact, which is float32$"),
        ("bfloat16", "write bf16$"),
        ("bf61", "did you mean 'bf16'"),
    ],
    "weights": [("pretrained", "write fitted, .* or imagenet$"), ("untrained", "write random$")],
    "controls": [("fgsm", "write --attack fgsm"), ("shuffled", "did you mean 'shuffled-fgsm'")],
    "measures": [("inactive_fraction", "write active_fraction, which is the rest of 1$"), ("sparsity", "write psi$")],
    "target": [("most-likely", "write none, which leaves the label"), ("least", "did you mean 'least-likely'")],
    "loss": [("CE", "write cross-entropy$")],
    "unit": [("feature-map", "write channel$")],
}
ATTACKED = [
    ("x.npz", "write npz:x.npz"),
    ("fog.npy[0:9]", r"write npy:fog.npy\[0:9\]"),
    ("pictures", "write folder:pictures"),
]


@pytest.mark.parametrize(
    ("option", "typed", "said"),
    [
        (option, *row)
        for option, rows in {"model": MODELS, "data": DATA, "attack": ATTACKS, "attacked": ATTACKED, **OTHERS}.items()
        for row in rows
    ],
)
def test_the_nearest_thing_that_works_is_in_the_sentence(option, typed, said):
    with pytest.raises(ConfigError, match=rf"^{option}: .*{said}") as refusal:
        RunConfig(**{option: typed})
    assert "\n" not in str(refusal.value)
    if written := re.search(
        r"; write ((torchvision|hf|folder|npz|npy|mine\.py|foolbox|mypackage\S*):\S+|mnist|bim)$", str(refusal.value)
    ):
        RunConfig(**{option: written[1]})


def test_no_other_name_is_answered_by_its_opposite():
    with pytest.raises(ConfigError, match="subset: there is no 'incorrect'; write fooled"):
        subset_named("incorrect")
    with pytest.raises(ConfigError, match="by: there is no 'dense'; write response or sparseness, which --drop"):
        AblationConfig(layer="conv1", by="dense")


def test_the_lists_are_torchvisions_own():
    torchvision = pytest.importorskip("torchvision")
    assert sorted(torchvision.models.list_models(module=torchvision.models)) == sorted(TORCHVISION_MODELS)
    assert set(TORCHVISION_DATA) <= set(torchvision.datasets.__all__)
