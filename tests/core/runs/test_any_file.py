"""Any JSON, any line and any array in a run directory: read, or refused by the loader in a sentence; nothing else."""

import ast
import contextlib
import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from psi_core.errors import PsiError, RunError
from psi_core.npy import read_header
from psi_core.plain_text import is_plain
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.runs.event_log import EventReader, events_path
from psi_core.runs.events import EVENTS
from psi_core.runs.labels import LABEL, Label, write_label
from psi_core.runs.run import Run
from psi_core.runs.status import StatusReader
from psi_core.runs.verification import verify
from tests.recorded import record_run

EXAMPLES = [150, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(3000)])]
"""How many are tried."""

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["fgsm", "conv1", "benign", "cpu", "2026-01-01T00:00:00+00:00", "../x", "\ud800", "\x1b]0;x\x07"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def settle(count):
    """As many examples as that, the same ones at every run."""
    return settings(max_examples=count, derandomize=count < 1000, deadline=None, database=None)


@pytest.fixture
def pristine(own_folders):
    return record_run(own_folders, images=12, chunk=5)


def read_all(directory):
    """Everything that a reader asks of a run; what is refused is refused in one line."""
    asked = (
        lambda run: (run.psi, run.labels, run.positions),
        lambda run: run.layer_infos,
        lambda run: (run.name, run.created_at, run.card, run.model.get("class_names")),
        lambda run: whole(run.label),
        lambda run: run.status,
        lambda run: run.wrong_chunks(),
        verify,
    )
    for ask in asked:
        try:
            ask(Run(directory))
        except PsiError as error:
            assert "\n" not in str(error)


def whole(label):
    """What is said of a run is what could be typed, and so is why it cannot be read."""
    assert all(map(is_plain, (label.name, *label.tags, label.note, label.trouble)))
    assert not label.trouble or label == Label(trouble=label.trouble)


@pytest.mark.parametrize("count", EXAMPLES)
def test_any_value_in_any_json_file_is_read_or_refused(count, pristine):
    write_label(pristine, Label("said", ("paper",), "what to remember"))
    names = ("config.json", "layers.json", "model.json", LABEL)
    originals = {name: json.loads((pristine / name).read_text()) for name in names}
    keys = {name: sorted(whole[0] if isinstance(whole, list) else whole) for name, whole in originals.items()}

    @settle(count)
    @given(st.data())
    def law(data):
        name = data.draw(st.sampled_from(sorted(originals)))
        changed = json.loads(json.dumps(originals[name]))
        if data.draw(st.integers(0, 9)):
            key, value = data.draw(st.sampled_from(keys[name]) | st.text(max_size=4)), data.draw(values)
            places = changed if isinstance(changed, list) else [changed]
            data.draw(st.sampled_from(places))[key] = value
        else:
            changed = data.draw(values)
        (pristine / name).write_text(json.dumps(changed), encoding="utf-8")
        read_all(pristine)
        (pristine / name).write_text(json.dumps(originals[name]), encoding="utf-8")

    law()
    assert Run(pristine).psi.shape[-1] == 12


@pytest.mark.parametrize("count", EXAMPLES)
def test_any_line_of_an_event_log_is_an_event_or_passed_over(count, pristine):
    path = events_path(pristine, 0)
    fields = sorted({field for event in EVENTS for field in event.__dataclass_fields__})
    lines = st.one_of(
        st.binary(max_size=20),
        st.builds(
            lambda event, values: json.dumps({"event": event, "time": 1.0, **values}).encode(),
            st.sampled_from(sorted(event.kind for event in EVENTS)) | st.text(max_size=4),
            st.dictionaries(st.sampled_from(fields), values, max_size=4),
        ),
    )

    @settle(count)
    @given(st.lists(lines, max_size=5))
    def law(drawn):
        path.write_bytes(b"\n".join([*drawn, b'{"event": "finished", "time": 2.0}\n']))
        assert EventReader(path).poll()[-1].kind == "finished"
        StatusReader(pristine).poll()
        assert Run(pristine).status

    law()


DTYPES = ("'<f4'", "'<i8'", "'|O'", "'<U9999999'", "'|V0'", "[('a','<f4')]", "'x'", "7", "''", "'<M8[s]'")
SHAPES = ("(4, 3, 5)", "(5,)", "()", "(-1,)", "(10**12,)", "(1e3,)", "(0,)", "7", "(2**70, 2**70)", "('a',)")


def header_text(descr, fortran, shape, more):
    """What stands in an array file before its numbers."""
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}{more}}}".encode()


headers = (
    st.sampled_from([b"[", b"(" * 200, b"{'a':" * 300, b""])
    | st.binary(max_size=40)
    | st.builds(
        header_text,
        st.sampled_from(DTYPES),
        st.sampled_from(["False", "True", "0", "None"]),
        st.sampled_from(SHAPES) | st.lists(st.integers(-2, 2**40), max_size=4).map(lambda shape: str(tuple(shape))),
        st.sampled_from(["", ", 'x': 1", ", 'shape': 3"]),
    )
)
lengths = st.sampled_from(["0", "1", "25", "007", "9" * 19, "9" * 25, "1_0", "٣", "-1"])


def plain_header(descr, fortran, shape, end, rest):
    """The same much as NumPy writes it."""
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': ({shape}){end}{rest}".encode()


plain_headers = st.builds(
    plain_header,
    st.sampled_from(["'<f4'", "'>i8'", "'|u1'", "'<U3'", "'<f3'", "'|O8'", "'=f4'", "'f4'", '"<f4"']),
    st.sampled_from(["False", "True", "1"]),
    st.builds(str.__add__, st.lists(lengths, max_size=4).map(", ".join), st.sampled_from(["", ",", ", "])),
    st.sampled_from([", }", "}", ",}"]),
    st.sampled_from(["", "   \n", "\n", "\n\n", " x"]),
)
versions = st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)])


def array_file(header, data, version=(1, 0)):
    """A file of NumPy's with this header, whatever it says."""
    length = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + header + data


def numpys_own(file):
    """What NumPy reads of a header: shape, order, type, and where the numbers begin; or that it reads none."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        return (*read(file), file.tell())
    except Exception:  # noqa: BLE001 - NumPy hands on what Python's parser says of any text.
        return "refused"


def ours(file):
    try:
        header = read_header(file)
    except ValueError:
        return "refused"
    return header.shape, header.is_fortran, header.dtype, header.length


@pytest.mark.parametrize(
    "array",
    [
        *(np.zeros((4, 7, 25), np.float32), np.zeros(3, ">i8"), np.zeros(()), np.zeros((3, 0), np.uint8)),
        *(np.zeros((2, 3), order="F"), np.array(["abc"]), np.array([True]), np.zeros(3, "M8[s]"), np.zeros((1,) * 32)),
        *(np.zeros(3, [("a", "<f4")]), np.array([None])),
    ],
    ids=lambda array: str(array.dtype),
)
def test_a_header_is_read_as_numpy_reads_it(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    assert ours(io.BytesIO(file.getvalue())) == numpys_own(io.BytesIO(file.getvalue())) != "refused"


@pytest.mark.parametrize("count", EXAMPLES)
def test_any_header_says_what_numpy_reads_from_it(count):
    @settle(count)
    @given(plain_headers | headers, st.binary(max_size=30), versions, st.integers(0, 99))
    @example(plain_header("'<f4'", "False", "5", ", }", "\n"), b"", (1, 0), 1)
    @example(plain_header("'<f4'", "False", "007,", ", }", "\n"), b"", (1, 0), 1)
    @example(plain_header("'<f4'", "True", "5, 6,", "}", ""), b"", (1, 0), 0)
    def law(header, data, version, missing):
        file = array_file(header, data, version)
        for content in (file, file[: len(file) - missing]):
            assert ours(io.BytesIO(content)) == numpys_own(io.BytesIO(content))

    law()


def test_what_we_write_is_read_without_python_s_parser(pristine, monkeypatch):
    def parse(_text):
        raise SystemError("AST constructor recursion depth mismatch")  # As Python says where two threads need it.

    monkeypatch.setattr(ast, "literal_eval", parse)
    assert Run(pristine).psi.shape[2] == Run(pristine).images
    assert read_arrays(chunk_path(pristine, 0))["index"].size


@pytest.mark.parametrize("count", EXAMPLES)
def test_any_header_in_a_chunk_is_read_or_refused_before_its_numbers(count, pristine):
    original = chunk_path(pristine, 1).read_bytes()
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    @settle(count)
    @given(st.sampled_from(sorted(members)), headers, st.binary(max_size=30), versions)
    def law(name, header, data, version):
        changed = io.BytesIO()
        with zipfile.ZipFile(changed, "w") as archive:
            for each, content in members.items():
                archive.writestr(each, array_file(header, data, version) if each == name else content)
        chunk_path(pristine, 1).write_bytes(changed.getvalue())
        with contextlib.suppress(ValueError):
            read_header(io.BytesIO(array_file(header, data, version)))
        with contextlib.suppress(RunError):
            read_arrays(chunk_path(pristine, 1))
        reason = Run(pristine).wrong_chunk(1)
        assert reason and "\n" not in reason
        read_all(pristine)

    law()
    chunk_path(pristine, 1).write_bytes(original)
    assert Run(pristine).wrong_chunks() == {}


@pytest.mark.parametrize("count", EXAMPLES)
def test_any_byte_of_a_chunk_that_is_another_is_noticed(count, pristine):
    original = bytearray(chunk_path(pristine, 0).read_bytes())
    psi = Run(pristine).psi[..., :5].copy()

    @settle(count)
    @given(st.integers(0, len(original) - 1), st.integers(1, 255))
    def law(place, change):
        damaged = bytearray(original)
        damaged[place] ^= change
        chunk_path(pristine, 0).write_bytes(damaged)
        run = Run(pristine)
        assert run.wrong_chunk(0) or run.psi[..., :5].tobytes() == psi.tobytes()

    law()


@pytest.mark.parametrize("count", EXAMPLES)
def test_any_positions_are_read_or_refused(count, own_folders):
    directory = record_run(own_folders, images=12, chunk=5)
    shutil.rmtree(directory / "chunks")
    (directory / "chunks").mkdir()

    @settle(count)
    @given(headers, st.binary(max_size=120))
    def law(header, data):
        (directory / "positions.npy").write_bytes(array_file(header, data))
        read_all(directory)

    law()
