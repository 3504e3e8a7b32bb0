"""What researchers type for a model, data, an attack or another name, and the nearest thing that works.

A row is a test of the text and what to write instead. Files named are looked at, and never run.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path

from psi_core.conditions import ATTACK_NAMES
from psi_core.errors import first_of
from psi_core.files import is_file, is_folder, typed_path

_MODELS = """
alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169 densenet201
efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6
efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf
regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf
regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34
resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5
shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11 vgg11_bn
vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2
wide_resnet50_2
"""
TORCHVISION_MODELS: tuple[str, ...] = tuple(_MODELS.split())
"""Classifiers of torchvision, whose import takes too long for a refusal. A test holds the list to torchvision's own."""

_DATA = """
CIFAR10 CIFAR100 Caltech101 Caltech256 CLEVRClassification Country211 DTD EMNIST EuroSAT FER2013 FGVCAircraft
FashionMNIST Flowers102 Food101 GTSRB INaturalist ImageNet Imagenette KMNIST OxfordIIITPet PCAM Places365 QMNIST
RenderedSST2 SEMEION STL10 SUN397 SVHN StanfordCars USPS
"""
TORCHVISION_DATA: tuple[str, ...] = tuple(_DATA.split())
"""Labeled sets of torchvision."""

_WEIGHTS = frozenset({".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar", ".h5", ".onnx", ".pkl", ".npz", ".keras"})

_ATTACKS: dict[str, str] = {
    "cw": "foolbox:L2CarliniWagnerAttack",
    "cwl2": "foolbox:L2CarliniWagnerAttack",
    "carlini": "foolbox:L2CarliniWagnerAttack",
    "carliniwagner": "foolbox:L2CarliniWagnerAttack",
    "deepfool": "foolbox:L2DeepFoolAttack",
    "ddn": "foolbox:DDNAttack",
    "ead": "foolbox:EADAttack",
    "elasticnet": "foolbox:EADAttack",
    "fmn": "foolbox:LInfFMNAttack",
    "boundary": "foolbox:BoundaryAttack",
    "hsja": "foolbox:HopSkipJumpAttack",
    "hopskipjump": "foolbox:HopSkipJumpAttack",
    "brendelbethge": "foolbox:LinfinityBrendelBethgeAttack",
    "bb": "foolbox:LinfinityBrendelBethgeAttack",
    "newtonfool": "foolbox:NewtonFoolAttack",
    "pgdl2": "foolbox:L2PGD",
    "aa": "pgd with --restarts 10, the nearest to its ensemble",
    "auto": "pgd with --restarts 10, the nearest to its ensemble",
    "autopgd": "pgd with --restarts 10, whose step it adapts",
    "apgd": "pgd with --restarts 10, whose step it adapts",
    "apgdce": "pgd with --restarts 10 --loss cross-entropy",
    "apgddlr": "pgd with --restarts 10, which climbs the margin too",
    "fab": "foolbox:LInfFMNAttack, which looks for the smallest change too",
    "square": "foolbox:HopSkipJumpAttack, which needs no gradient either",
    "ifgsm": "bim",
    "bimlinf": "bim",
    "pgdlinf": "pgd",
    "linfpgd": "pgd",
    "madry": "pgd",
    "momentum": "mi-fgsm",
    "mim": "mi-fgsm",
    "mifgsm": "mi-fgsm",
    "rfgsm": "r-fgsm",
    "ffgsm": "r-fgsm",
    "fgm": "fgm-l2",
    "noise": "none, and --controls sign-noise",
    "random": "none, and --controls sign-noise",
    "signnoise": "none, and --controls sign-noise",
    "gaussian": "none, and --controls gaussian",
    "gaussiannoise": "none, and --controls gaussian",
}
"""What attacks are called elsewhere, in small letters and digits alone, and what to write for them."""

_SIXTEEN_BITS = "bf16, which has float32's range in 16 bits, or exact"
_PRETRAINED = "fitted, which is trained here on digits, or imagenet"
_FROM_1 = "active_fraction, which is the rest of 1"

_MEANT: dict[str, dict[str, str]] = {
    "precision": {
        **dict.fromkeys(("fp32", "float32", "float", "full", "single", "32", "highest", "ieee"), "exact"),
        **dict.fromkeys(("fp64", "float64", "double", "64"), "exact, which is float32"),
        **dict.fromkeys(("tensorfloat32", "high"), "tf32"),
        **dict.fromkeys(("bfloat16", "medium"), "bf16"),
        **dict.fromkeys(("fp16", "float16", "half", "16", "amp", "mixed"), _SIXTEEN_BITS),
    },
    "weights": {
        **dict.fromkeys(("pretrained", "trained", "default"), _PRETRAINED),
        **dict.fromkeys(("untrained", "init", "initial", "scratch", "none"), "random"),
    },
    "controls": {name.replace("-", ""): f"--attack {name}, which is an attack and no control" for name in ATTACK_NAMES},
    "measures": {
        **dict.fromkeys(("sparseness", "sparsity", "trevesrolls", "vinjegallant"), "psi"),
        **dict.fromkeys(("zerofraction", "inactivefraction", "silentfraction", "zeros"), _FROM_1),
        "participationratio": "n_eff",
        "lifetime": "psi-tui show RUN --table lifetime, which every run has",
    },
    "unit": {
        **dict.fromkeys(("position", "location", "patch", "pixel"), "token"),
        **dict.fromkeys(("filter", "feature", "featuremap", "map"), "channel"),
    },
    "loss": {
        **dict.fromkeys(("ce", "xent", "nll", "logloss"), "cross-entropy"),
        **dict.fromkeys(("cw", "dlr", "logit", "logits"), "margin"),
    },
    "target": {
        **dict.fromkeys(("mostlikely", "likely", "true", "label"), "none, which leaves the label, or another class"),
        "untargeted": "none",
    },
    "labels": dict.fromkeys(("model", "own", "network"), "predicted"),
    "by": {
        **dict.fromkeys(("activation", "mean"), "response"),
        **dict.fromkeys(("dense", "unresponsive"), "response or sparseness, which --drop leaves the lowest of"),
    },
    "subset": {
        **dict.fromkeys(("incorrect", "wrong", "misclassified"), "fooled, which the condition makes wrong, or all"),
        **dict.fromkeys(("unfooled", "robust", "survived"), "kept"),
    },
}
"""By option, names from elsewhere whose nearest spelling may mean something else, and what to write for them."""


def way_out(option: str, typed: str) -> str | None:
    """What to write for a text that stands for no value of an option, as a refusal; None where no row fits."""
    for row in _ROWS.get(option, ()):
        if sentence := row(typed):
            return f"{option}: {sentence}"
    return None


def _is_folder(typed: str) -> bool:
    return is_folder(typed_path(typed))


def _plain(text: str) -> str:
    return re.sub(r"[^a-z\d]", "", text.lower())


def _python_file(typed: str) -> str | None:
    if not typed.endswith(".py"):
        return None
    path = typed_path(typed)
    if not is_file(path):
        return f"there is no file {typed}; write file.py:NAME, the function or class that makes the network"
    try:
        body = ast.parse(path.read_bytes()).body
    except OSError as error:
        return f"{typed} cannot be read ({error.strerror}); check who owns it"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{typed} is no Python that can be read ({error}); mend it, and write {typed}:NAME"
    names = [each.name for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef) and each.name[0] != "_"]
    if not names:
        return f"{typed} has no function or class; write one that returns the network, and {typed}:NAME"
    likeliest = _likeliest(body, names)
    return f"{typed} is a file, and of it {first_of(names, 8)} may make the network; write {typed}:{likeliest}"


def _likeliest(body: list[ast.stmt], names: list[str]) -> str:
    """The last class that is a Module by its bases, else the last name: parts stand above what is made of them."""
    modules = [
        each.name
        for each in body
        if isinstance(each, ast.ClassDef) and any("Module" in ast.unparse(base) for base in each.bases)
    ]
    return (modules or names)[-1]


def _notebook(typed: str) -> str | None:
    place, _, name = typed.partition(".ipynb")
    if ".ipynb" not in typed:
        return None
    member = name.removeprefix(":") or "NAME"
    return (
        f"{place}.ipynb is a notebook, which cannot be imported; write jupyter nbconvert --to script {place}.ipynb, "
        f"and {place}.py:{member}"
    )


def _weights_file(typed: str) -> str | None:
    if Path(typed).suffix.lower() not in _WEIGHTS:
        return None
    return f"{typed} is a file of weights; write the network's name or file.py:NAME, and --weights {typed}"


def _torchvision_model(typed: str) -> str | None:
    member = typed.rpartition("/")[2].rpartition(".")[2]
    known = next((name for name in TORCHVISION_MODELS if _plain(name) == _plain(member)), None)
    return f"{typed!r} is torchvision's; write torchvision:{known}" if known else None


def _timm_model(typed: str) -> str | None:
    is_timms = re.match(
        r"(tf_|vit_|deit|eva|beit|mixer|resmlp|cait|coat|ecaresnet|gernet|repvgg|hrnet|nfnet)\w*", typed
    )
    is_variant = re.fullmatch(r"(resnet|resnext|vit|swin|convnext|efficientnet|mobilenet\w*)\w*_\w*\d\w*", typed)
    return f"{typed!r} may be timm's; write timm:{typed}" if is_timms or is_variant else None


def _dotted(typed: str) -> str | None:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", typed):
        return None
    module, _, name = typed.rpartition(".")
    return f"{typed!r} names no model; write {module}:{name} where {name} is a function or class of the module {module}"


def _model_folder(typed: str) -> str | None:
    if not _is_folder(typed):
        return None
    if is_file(typed_path(typed) / "config.json"):
        return f"{typed} is a folder of Hugging Face's; write hf:{typed}"
    return f"{typed} is a folder; write file.py:NAME, the function or class that makes the network"


def _hub_model(typed: str) -> str | None:
    is_name = re.fullmatch(r"[\w-]+/[\w.-]+", typed)
    return f"{typed!r} may be a name of Hugging Face's; write hf:{typed}" if is_name else None


def _bundled_data(typed: str) -> str | None:
    return f"{typed!r} is bundled; write mnist" if typed != "mnist" and _plain(typed) == "mnist" else None


def _torchvision_data(typed: str) -> str | None:
    plain = _plain(typed.rpartition(".")[2])
    short = {"cifar": "CIFAR10", "fmnist": "FashionMNIST", "flowers": "Flowers102", "food": "Food101"}
    pets = {
        "pets": "OxfordIIITPet",
        "oxfordpets": "OxfordIIITPet",
        "oxfordpet": "OxfordIIITPet",
        "imagenet1k": "ImageNet",
    }
    known = next((name for name in TORCHVISION_DATA if _plain(name) == plain), (short | pets).get(plain))
    if known == "ImageNet":
        return f"{typed!r} cannot be downloaded; write torchvision:ImageNet@FOLDER, or folder:PATH of its val part"
    return f"{typed!r} is torchvision's; write torchvision:{known}" if known else None


def _place_of_data(typed: str) -> str | None:
    if _is_folder(typed):
        return f"{typed} is a folder; write folder:{typed}"
    if typed.endswith(".npz"):
        return f"{typed} is an archive of arrays; write npz:{typed}"
    if typed.endswith(".npy"):
        return f"{typed} is one array, without labels; save images and labels with np.savez, and write npz:PATH"
    if typed.endswith((".zip", ".tar", ".gz", ".tgz")):
        return f"{typed} is packed; unpack it, and write folder:PATH"
    if typed.endswith((".pt", ".pth", ".pkl", ".h5", ".csv", ".parquet")):
        return f"{typed} is no kind of data that is read; save images and labels with np.savez, and write npz:PATH"
    return f"there is no folder {typed}; write folder:PATH" if "/" in typed and ":" not in typed else None


def _place_of_attacked(typed: str) -> str | None:
    place = typed.partition("[")[0]
    if _is_folder(place):
        return f"{typed} is a folder; write folder:{typed}"
    kind = Path(place).suffix.lower().removeprefix(".")
    return f"{typed} is a file of arrays; write {kind}:{typed}" if kind in ("npz", "npy") and ":" not in place else None


def _known_attack(typed: str) -> str | None:
    if typed.lower().startswith("foolbox"):
        return None
    name = re.sub(r"(attack|method)$", "", _plain(typed))
    meant = next(
        (_ATTACKS[each] for each in (name, re.sub(r"^(l2|linf|l0|l1)|(l2|linf)$", "", name)) if each in _ATTACKS), None
    )
    return f"there is no {typed!r}; write {meant}" if meant else None


def _known_elsewhere(option: str) -> Callable[[str], str | None]:
    def row(typed: str) -> str | None:
        meant = _MEANT[option].get(_plain(typed.removeprefix("torch.")))
        return f"there is no {typed!r}; write {meant}" if meant else None

    return row


_ROWS: dict[str, tuple[Callable[[str], str | None], ...]] = {
    "model": (
        *(_python_file, _notebook, _weights_file, _torchvision_model, _timm_model, _model_folder, _hub_model, _dotted),
    ),
    "data": (_bundled_data, _torchvision_data, _place_of_data),
    "attacked": (_place_of_attacked,),
    "attack": (_known_attack,),
    **{option: (_known_elsewhere(option),) for option in _MEANT},
}
"""By option, the rows in the order in which they are asked."""


def plain_name(name: str) -> str:
    """The name of a run without blanks around it.

    Raises:
        ValueError: it holds what no name may, or is a name that means something else.
    """
    name = name.strip()
    if meaning := {"latest": "the newest run", ".": "a folder", "..": "a folder"}.get(name):
        raise ValueError(f"name: {name!r} stands for {meaning} wherever a run is named; write another")
    if any(not (letter.isalnum() or letter in " ._@+=,-") for letter in name):
        raise ValueError(f"name: {name!r} cannot name a run; use letters, digits, space and . _ @ + = , -")
    return name


def typable_name(name: str) -> str:
    """A name that a shell can hand on; runs of older versions may have others.

    Raises:
        ValueError: it is blank, or would be taken for an option.
    """
    if name and not name.strip():
        raise ValueError(f"name: {name!r} is blank; write a letter or a digit, or leave it out")
    if looks_like_option(name):
        raise ValueError(f"name: {name!r} would be taken for an option; begin with a letter or a digit")
    return name


def looks_like_option(name: str) -> bool:
    """Whether a command line takes a name for an option."""
    return name.strip().startswith("-")
