"""Weights files by their content: what a file is, and the values in it. Endings count for nothing; no code is run."""

import mmap
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from psi_core.errors import ModelError, missing_file, reason_of
from psi_core.files import is_file, is_folder, open_file

DAMAGE = (
    *(RuntimeError, ValueError, OSError, EOFError, LookupError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, ImportError, MemoryError, struct.error, zipfile.BadZipFile),
    pickle.UnpicklingError,
)
"""What unpickling a damaged file raises. Python's documentation gives no complete list."""

_HEAD = 4096
"""Bytes at a file's start that tell its kind."""

_TORCH_HEADS = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")
"""What files of torch.save begin with, new and old ones."""


def read_values(path: Path) -> Any:
    """What a file of tensors holds: PyTorch's, new or old, or safetensors.

    Raises:
        ModelError: there is no such file, or it is of another kind, damaged, or holds code.
    """
    advice = "write fitted, random, imagenet, built, or the path of a file that torch.save or safetensors wrote"
    try:
        if is_folder(path):
            inside = next((file.name for file in sorted(path.iterdir()) if is_file(file)), "weights.pt")
            raise ModelError(f"weights: {path} is a folder; name a file in it, such as {path / inside}")
        with open_file(path) as file:
            head = file.read(_HEAD)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(missing_file("weights", path, advice)) from None
    except OSError as error:
        raise ModelError(f"weights: {path} cannot be read ({error.strerror}); write the path of a file") from None
    size = path.stat().st_size
    if not size:
        raise ModelError(f"weights: {path} is empty; copy it again")
    if foreign := _foreign_kind(path, head, size):
        raise ModelError(f"weights: {path} is {foreign}")
    is_safetensors = head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8
    is_damaged = path.suffix == ".safetensors" and not head.startswith(_TORCH_HEADS)
    return _read_safetensors(path) if is_safetensors or is_damaged else _read_pickle(path)


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"weights: {path} is no whole safetensors file ({reason_of(error)}); copy it again") from None


def _read_pickle(path: Path) -> Any:
    try:
        # Open, not by its path: torch takes a path's ending for what it is.
        with path.open("rb") as file, warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore", UserWarning)  # About pickles that torch.save did not write.
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"weights: {path} {_code_sentence(path, str(error))}") from None
    except DAMAGE as error:
        reason = reason_of(error).splitlines()[0]
        raise ModelError(f"weights: {path} is no whole PyTorch file ({reason}); copy it again") from None


_SAVE = "torch.save(net.state_dict(), 'weights.pt')"


def _code_sentence(path: Path, complaint: str) -> str:
    """What is wrong with a file that names classes or functions besides tensors, and how its tensors are saved."""
    named = re.search(r"GLOBAL (\S+)", complaint)
    name = f": {named[1]}" if named else ""
    if "Unsupported operand" in complaint:
        return (
            "is damaged or holds code besides tensors, which is never run; where pickle wrote it, convert it: "
            f"values = pickle.load(open('{path.name}', 'rb')), then torch.save(values, 'weights.pt')"
        )
    if _holds(path, b"_parameters", b"_modules"):
        return (
            f"is a pickled module and holds code besides tensors, which is never run{name}; convert it in its own "
            f"project: net = torch.load('{path.name}', weights_only=False), then {_SAVE} to save a state dict"
        )
    return f"holds code besides tensors, which is never run{name}; save a state dict alone, {_SAVE}"


def _holds(path: Path, *words: bytes) -> bool:
    """Whether all of the words stand in the pickle of a file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
        return any(all(word in content for word in words) for content in pickles)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(content.find(word) >= 0 for word in words)


class _Company:
    """Takes the place of what training scripts save beside weights. Nothing is kept of it."""

    def __new__(cls, *_arguments: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


def _plain_dict(*_arguments: object) -> dict[object, object]:
    return {}


def _plain_list(*_arguments: object) -> list[object]:
    return []


_COMPANY = {
    "argparse": "Namespace",
    "builtins": "bool bytes dict float frozenset int list object range slice str tuple",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "lightning.pytorch.callbacks.model_checkpoint": "ModelCheckpoint",
    "numpy": "bool bool_ float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 str_",
    "numpy._core.multiarray": "scalar",
    "numpy.core.multiarray": "scalar",
    "numpy.random": "Generator RandomState MT19937 PCG64",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64",
    "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    "omegaconf.base": "ContainerMetadata Metadata SCMode",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.nodes": "AnyNode BooleanNode BytesNode EnumNode FloatNode IntegerNode PathNode StringNode",
    "packaging.version": "Version",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pytorch_lightning.callbacks.model_checkpoint": "ModelCheckpoint",
    "torch.torch_version": "TorchVersion",
    "types": "SimpleNamespace",
    "typing": "Any",
    "uuid": "UUID SafeUUID",
}
"""Classes by module that say something about a training, and that no code of a file's own can reach."""

_DICTS = {
    "addict.addict": "Dict",
    "box.box": "Box",
    "easydict": "EasyDict",
    "lightning.fabric.utilities.data": "AttributeDict",
    "lightning.pytorch.utilities.parsing": "AttributeDict",
    "lightning_fabric.utilities.data": "AttributeDict",
    "munch": "Munch",
    "pytorch_lightning.utilities.parsing": "AttributeDict",
    "yacs.config": "CfgNode",
}
"""Dictionaries of other packages; they are read as plain ones, since weights may lie in them."""


def _harmless() -> list[Any]:
    """Classes that a pickle may name, as torch takes them: each with the name that it has in the file."""
    company = [(_Company, f"{module}.{name}") for module, names in _COMPANY.items() for name in names.split()]
    dicts = [(OrderedDict, f"{module}.{name}") for module, name in _DICTS.items()]
    containers: list[tuple[Callable[..., object], str]] = [
        (_plain_dict, "collections.defaultdict"),
        (_plain_list, "collections.deque"),
    ]
    arrays: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDgOSUmM"}]
    rebuild = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    arrays += [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    return [*company, *dicts, *containers, *arrays]


def _foreign_kind(path: Path, head: bytes, size: int) -> str | None:
    """What a file is that is no file of tensors, and how to convert it; None where it may be one."""
    known = next((what for start, at, what in _KINDS if head[at:].startswith(start)), None)
    if known:
        return known.format(name=path.name)
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    if head[257:262] == b"ustar":
        return _tar_kind(path)
    if head[:1] in (b"\x08", b"\n") and (kind := _protobuf_kind(path, size)):
        return kind
    if ".data-0000" in path.name or (path.suffix == ".index" and not head.startswith(b"\x80")):
        return "part of a checkpoint of TensorFlow's" + _TENSORFLOW
    return _text_kind(path, head)


_TO_TORCH = "torch.save(tensors, 'weights.pt')"

_KERAS = (
    "an HDF5 file, as Keras writes, and not PyTorch's; convert it: arrays = keras.models.load_model('{name}')."
    "get_weights(), then torch.save(dict(zip(net.state_dict(), map(torch.from_numpy, arrays))), 'weights.pt') with "
    "kernels turned to PyTorch's order of axes"
)
_ONNX = (
    "a graph of ONNX's, whose layers cannot be seen; convert it: tensors = {{t.name: torch.tensor(onnx.numpy_helper."
    "to_array(t)) for t in onnx.load('{name}').graph.initializer}}, then " + _TO_TORCH
)
_TENSORFLOW = (
    "; convert it: reader = tf.train.load_checkpoint(path), then torch.save({n: torch.tensor(reader.get_tensor(n)) "
    "for n in reader.get_variable_to_shape_map()}, 'weights.pt')"
)
_NUMPY = "an archive of NumPy's; convert it: tensors = {{n: torch.from_numpy(a) for n, a in np.load('{name}').items()}}"

_KINDS = (
    (b"\x89HDF\r\n\x1a\n", 0, _KERAS),
    (b"\x93NUMPY", 0, "one array of NumPy's, without names; save a state dict, " + _SAVE),
    (b"\x1f\x8b", 0, "compressed by gzip; unpack it with gunzip (tar -xzf where it holds a folder), and name the file"),
    (b"BZh", 0, "compressed by bzip2; unpack it with bunzip2, and name the file in it"),
    (b"\xfd7zXZ\x00", 0, "compressed by xz; unpack it with unxz, and name the file in it"),
    (b"\x28\xb5\x2f\xfd", 0, "compressed by zstd; unpack it with unzstd, and name the file in it"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive; unpack it, and name the file in it"),
    (b"Rar!", 0, "a rar archive; unpack it, and name the file in it"),
    (b"TFL3", 4, "a model of TensorFlow Lite's, whose numbers are rounded; convert the network that it was made from"),
    (b"GGUF", 0, "a GGUF file of a language model; name weights of an image classifier"),
    (b"MATLAB 5.0", 0, "a file of MATLAB's; convert it: arrays = scipy.io.loadmat('{name}'), then " + _TO_TORCH),
    (b"\x89PNG", 0, "a picture; name the file of the weights"),
    (b"%PDF", 0, "a PDF document; name the file of the weights"),
    (b"version https://git-lfs", 0, "a pointer of Git LFS's in place of the file; fetch it with git lfs pull"),
)
"""First bytes, where they stand, and what such a file is."""


def _zip_kind(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return None  # Cut short; torch says so.
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        unseen, load, state = "a TorchScript archive", "torch.jit.load", "net.state_dict()"
    elif any(name.endswith("data.pkl") for name in names):
        return None
    elif any("exported_program" in name or name.endswith("archive_format") for name in names):
        unseen, load, state = "a program of torch.export's", "torch.export.load", "net.state_dict"
    elif any(name.endswith(".weights.h5") for name in names):
        return _KERAS.replace("an HDF5 file", "a model file").format(name=path.name)
    elif names and all(name.endswith(".npy") for name in names):
        return f"{_NUMPY.format(name=path.name)}, then {_TO_TORCH}"
    else:
        return f"a zip archive of {', '.join(names[:3]) or 'nothing'}; unpack it, and name the file in it"
    return (
        f"{unseen}, whose layers cannot be seen; convert it: net = {load}('{path.name}'), "
        f"then torch.save({state}, 'weights.pt')"
    )


def _tar_kind(path: Path) -> str:
    try:
        with tarfile.open(path) as archive:
            names = archive.getnames()
    except (tarfile.TarError, OSError):
        names = []
    if {"storages", "tensors"} <= set(names):
        return f"a file of PyTorch 0.1; convert it: net = torch.load('{path.name}', weights_only=False), then {_SAVE}"
    return f"a tar archive of {', '.join(names[:3]) or 'nothing'}; unpack it with tar -xf, and name the file in it"


def _protobuf_kind(path: Path, size: int) -> str | None:
    """Which graph a protocol buffer is, by the numbers of its top fields; None where the file is none."""
    fields: set[int] = set()
    with path.open("rb") as file:

        def varint() -> int:
            value = shift = 0
            while (byte := file.read(1)) and shift < 64:
                value |= (byte[0] & 127) << shift
                shift += 7
                if byte[0] < 128:
                    return value
            raise EOFError

        try:
            while file.tell() < size:
                number, wire = divmod(varint(), 8)
                if wire == 0:
                    varint()
                else:
                    file.seek(varint() if wire == 2 else {1: 8, 5: 4}[wire], 1)
                if not 1 <= number <= 30 or file.tell() > size:
                    return None
                fields.add(number)
        except (EOFError, LookupError, OSError, OverflowError):
            return None
    if {1, 7} <= fields:
        return _ONNX.format(name=path.name)
    return "a graph of TensorFlow's" + _TENSORFLOW if path.suffix == ".pb" or fields == {1, 2} else None


def _text_kind(path: Path, head: bytes) -> str | None:
    """What a text is that stands in place of weights."""
    if not all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return None
    text = head.decode("utf-8", "replace").lstrip().lower()
    if text.startswith(("<!doctype", "<html", "<?xml")):
        return "a web page, saved in place of the file; download the file itself"
    if path.suffix == ".py":
        return f"Python code; write --model {path}:NAME, and name the file of its weights"
    if '"weight_map"' in text:
        return "the index of weights in several files; bring them into one with safetensors.torch.save_file"
    return f"text, {text.splitlines()[0][:40]!r}; name the file of the weights" if text else "blank; copy it again"
