"""A run on one page that loads nothing, in lines for a chat, and one plot alone for a paper."""

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from PIL import Image

from psi_core.runs.run import Run
from psi_core.tables.registry import table_rows
from tests.recorded import record_run


class Loads(HTMLParser):
    """Collects what a page would load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]
        assert tag not in ("script", "link", "iframe")


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_a_report_tells_everything_and_loads_nothing(own_folders, tmp_path, psi, suffix):
    directory = record_run(own_folders, name="mine", epsilon="0.03,0.1", seed=3)
    file = tmp_path / f"report.{suffix}"
    done = psi("report", directory, "--to", file)
    assert (done.code, done.out) == (0, f"{file}\n")
    text = file.read_text()
    if suffix == "html":
        page = Loads()
        page.feed(text)
        assert page.found == []
        plain = text.replace("&lt;", "<").replace("&amp;", "&").replace("&gt;", ">").replace("&#x27;", "'")
        pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    else:
        plain = text
        pictures = [base64.b64decode(data).decode() for data in re.findall(r"svg\+xml;base64,([^)]*)", text)]
    for row in table_rows(Run(directory), "layers"):
        if row["noise"]:
            assert str(row["verdict"]) in plain
    for row in table_rows(Run(directory), "evidence"):
        assert str(row["sentence"]).split("|")[0] in plain
    assert len(pictures) == 3 + 1 + 4, "histograms, the profile, and recognition and three layers against epsilon"
    assert all(ElementTree.fromstring(picture).tag.endswith("svg") for picture in pictures)
    assert "--epsilon=0.03,0.1" in plain
    assert "0" * 64 in plain


def test_a_report_replaces_nothing_unasked_and_knows_its_two_formats(own_folders, tmp_path, psi):
    record_run(own_folders, name="mine")
    file = tmp_path / "report.md"
    file.write_text("precious")
    refused = psi("report", "mine", "--to", file)
    assert (refused.code, file.read_text()) == (2, "precious")
    assert "--replace" in refused.err
    assert psi("report", "mine", "--to", file, "--replace").code == 0
    assert file.read_text().startswith("# mine")
    assert ".html" in psi("report", "mine", "--to", tmp_path / "report.pdf").err
    assert "condition" in psi("report", "mine", "--condition", "fgms@0.03").err
    assert psi("report", "mine").out.startswith("# mine")
    assert [path.name for path in tmp_path.glob("report*")] == ["report.md"]


def test_a_card_fits_a_chat(own_folders, psi):
    record_run(own_folders, name="mine")
    lines = psi("report", "mine", "--card").out.splitlines()
    assert len(lines) <= 10
    assert lines[0].startswith("mine: lenet5")
    assert lines[2].split()[:2] == ["conv1", "+0.430"]
    assert lines[-1].startswith("psi-tui run")


def test_a_run_of_benign_images_alone_is_reported_too(own_folders, psi):
    record_run(own_folders, name="alone", attack="none", controls="none")
    text = psi("report", "alone").out
    assert text.startswith("# alone")
    assert "nothing was done to the images" in text
    for wrong in ("Verdicts", "fooled", "L-inf", "Shifts", "against"):
        assert not [line for line in text.splitlines() if wrong in line and not line.startswith("| ")], wrong
    assert "| condition | images | accuracy % |" in text
    card = psi("report", "alone", "--card").out
    assert "nothing was done" in card
    assert "--attack=none" in card


def test_one_plot_alone_is_a_light_picture(own_folders, tmp_path, psi):
    record_run(own_folders, name="mine")
    for name in ("plot.svg", "plot.png"):
        assert psi("show", "mine", "--plot", "conv1", "--to", tmp_path / name).code == 0
        assert psi("show", "mine", "--plot", "conv1", "--to", tmp_path / name).code == 2
    root = ElementTree.fromstring((tmp_path / "plot.svg").read_text())
    assert not [*root.iter("{http://www.w3.org/2000/svg}text")]
    texts = [element.get("aria-label") for element in root.iter("{http://www.w3.org/2000/svg}g")]
    assert "PSI of conv1" in texts
    assert any("benign, 60 images" in text for text in texts)
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.size == (1360, 880)
        assert picture.getpixel((2, 2)) == (255, 255, 255)
        assert len(picture.getcolors(1 << 20)) > 3
    assert psi("show", "mine", "--to", tmp_path / "other.svg").code == 2


NOISELESS = {
    "no noise": ({"controls": "none"}, "no noise of its size"),
    "no noise but a control": ({"controls": "anti-fgsm"}, "no noise of its size"),
    "noise alone": ({"attack": "none", "controls": "sign-noise"}, "nothing attacked the images"),
}


@pytest.mark.parametrize(("options", "words"), NOISELESS.values(), ids=NOISELESS)
def test_a_report_speaks_of_noise_only_where_there_is_some(own_folders, psi, options, words):
    record_run(own_folders, name="mine", **options)
    text = psi("report", "mine").out
    assert words in text
    lines = text.splitlines()
    headings = [place for place, line in enumerate(lines) if line.startswith("## ")]
    assert all(lines[place + 2] for place in headings), "no heading stands over nothing"
    card = psi("report", "mine", "--card").out
    assert "beyond noise" not in card
    assert not [line for line in card.splitlines() if line.rstrip().endswith(" -")]
