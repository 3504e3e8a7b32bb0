"""What the app remembers comes back; what is damaged falls back field by field; nothing here ever raises."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi_tui.services.state import State, load_state, state_path

CHANGED = {
    "theme": "nord",
    "screen": "results",
    "run": "/runs/one",
    "runs_filter": "alex",
    "explore_model": "vgg11",
    "explore_filter": "conv",
    "results_tab": "images",
    "layer": "conv3",
    "condition": "fgsm@0.1",
    "measure": "n_eff",
    "bins": 20,
    "peak": "L",
    "image_filter": "flipped psi>0.9",
    "image_sort": "shift",
    "image_descending": True,
    "compared": ["/runs/one", "/runs/two"],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "psi-tui" / "app.json"


def test_every_field_is_remembered(own_state):
    assert set(CHANGED) == set(State.model_fields)
    state = State(**CHANGED)
    assert all(getattr(state, field) != getattr(State(), field) for field in CHANGED)
    assert state.save() is None
    assert state_path() == own_state
    assert load_state() == state
    assert (load_state().run, load_state().compared[1]) == (Path("/runs/one"), Path("/runs/two"))


def test_a_path_that_is_no_utf_8_is_remembered():
    State(run=Path("/runs/\udcff")).save()
    assert load_state().run == Path("/runs/\udcff")


@pytest.mark.parametrize("name", ["", "relative", "/runs/\0", "/runs/\ud800"])
def test_a_path_that_no_system_opens_is_forgotten(own_state, name):
    own_state.parent.mkdir(parents=True)
    own_state.write_text(json.dumps({"run": name, "compared": [name]}), encoding="utf-8")
    assert (load_state().run, load_state().compared) == (None, ())


def test_a_first_start_has_defaults():
    assert load_state() == State()


@pytest.mark.parametrize("field", CHANGED)
@pytest.mark.parametrize("damage", [{"a": 1}, 7.5, ["\ud800", 3], "\ud800"])
def test_one_damaged_field_costs_no_other(own_state, field, damage):
    State(**CHANGED).save()
    own_state.write_text(json.dumps({**CHANGED, field: damage}), encoding="utf-8")
    loaded, whole = load_state(), State(**CHANGED)
    assert loaded.model_dump(exclude={field}) == whole.model_dump(exclude={field})
    assert type(getattr(loaded, field)) is type(getattr(State(), field))


@pytest.mark.parametrize(("field", "unknown"), [("screen", "settings"), ("bins", 0), ("bins", 10**9)])
def test_an_unknown_choice_takes_the_default(own_state, field, unknown):
    own_state.parent.mkdir(parents=True)
    own_state.write_text(json.dumps({**CHANGED, field: unknown}), encoding="utf-8")
    assert getattr(load_state(), field) == getattr(State(), field)
    assert load_state().theme == "nord"


@given(values=st.dictionaries(st.sampled_from(list(CHANGED)), JSON) | JSON)
def test_no_json_stops_the_app(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    assert load_state(path).save(path) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"theme": "no', b"\xff\xfe", b"[1]", b"null", b"[" * 100_000])
def test_no_damaged_file_stops_the_app(own_state, content):
    own_state.parent.mkdir(parents=True)
    own_state.write_bytes(content)
    assert load_state() == State()


def test_a_newer_version_may_know_more(own_state):
    own_state.parent.mkdir(parents=True)
    own_state.write_text(json.dumps({**CHANGED, "from_the_future": 1}), encoding="utf-8")
    assert load_state() == State(**CHANGED)


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file, not a folder", encoding="utf-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    told = State().save()
    assert told is not None
    assert told.startswith(f"{state_path()}: cannot be written (Not a directory)")
    assert "\n" not in told
    assert load_state() == State()


def test_a_failed_save_leaves_nothing_beside_the_file(own_state):
    own_state.mkdir(parents=True)
    assert State().save() is not None
    assert list(own_state.parent.iterdir()) == [own_state]


def test_a_reader_sees_the_old_file_or_the_new_one(own_state):
    State(theme="nord").save()
    with own_state.open(encoding="utf-8") as reader:
        State(theme="gruvbox").save()
        assert json.load(reader)["theme"] == "nord"
    assert load_state().theme == "gruvbox"
    assert list(own_state.parent.iterdir()) == [own_state]
