"""A device is its text, wherever it is written."""

import json

import pytest

from psi_core.devices import CPU, Device


@pytest.mark.parametrize(
    ("text", "device", "kind", "number"),
    [
        ("cpu", "cpu", "cpu", 0),
        ("cuda", "cuda:0", "cuda", 0),
        ("cuda:0", "cuda:0", "cuda", 0),
        ("cuda:11", "cuda:11", "cuda", 11),
    ],
)
def test_a_device_is_its_text(text, device, kind, number):
    found = Device(text)
    assert (found, str(found), f"{found}", json.dumps(found)) == (device, device, device, json.dumps(device))
    assert (found.kind, found.number, found.is_cuda) == (kind, number, kind == "cuda")
    assert Device(found) == found
    assert found == (Device.cuda(number) if found.is_cuda else CPU)


@pytest.mark.parametrize("text", ["", "auto", "CPU", "cuda:", "cuda:²", "cuda:-1", "cuda:0\n", "mps", "cpu:0"])
def test_other_texts_are_no_device(text):
    with pytest.raises(ValueError, match=r"^device: there is no .*; write cpu, cuda, or cuda:K such as cuda:0$"):
        Device(text)
