"""An element family that is registered from outside is known to hardware files, prices and the model: one record, no other file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dse
from dse.errors import InputError
from dse.hardware.elements import FAMILIES, Mode, register
from dse.hardware.elements.parallel import FIXED


@pytest.fixture
def half_rate():
    """Twice the fixed family's cycles wherever the weight is wider than 4 bits."""

    def mode(pe, w, a):
        fixed = FIXED.mode(pe, w, a)
        return Mode(fixed.lanes, np.where(w > 4, 2.0, 1.0), fixed.supported)

    record = replace(FIXED, name="half_rate", summary="two cycles beyond 4 weight bits", source="made up for this test", mode=mode)
    register(record)
    yield record
    del FAMILIES["half_rate"]


def test_a_registered_family_runs(half_rate, tmp_path):
    content = Path(dse.load_hardware("gemmini").path).read_text()
    assert "family: fixed" in content
    path = tmp_path / "own.yaml"
    path.write_text(content.replace("family: fixed", "family: half_rate").replace("name: gemmini", "name: own"))
    net = dse.load_workload("cifar_resnet20")
    own, plain = dse.load_hardware(path), dse.load_hardware("gemmini")
    cycles = {}
    for name, hardware in (("own", own), ("plain", plain)):
        for width in (4, 8):
            plan = dse.Plan.from_bits(net, weight=width, activation=8, error=8)
            cycles[name, width] = dse.evaluate(net, hardware, plan, mode="inference").total["latency_s"][0]
    assert cycles["own", 4] == cycles["plain", 4]
    assert cycles["own", 8] > cycles["plain", 8]


def test_a_name_is_given_once(half_rate):
    with pytest.raises(InputError, match="half_rate"):
        register(replace(half_rate))


def test_an_unknown_family_and_unused_keys_are_named(tmp_path):
    content = Path(dse.load_hardware("gemmini").path).read_text()
    path = tmp_path / "own.yaml"
    path.write_text(content.replace("family: fixed", "family: fixd"))
    with pytest.raises(InputError, match=r"pe.family \(line \d+\): expected one of 'fixed', .*, got 'fixd'"):
        dse.load_hardware(path)
    path.write_text(content.replace("family: fixed", "family: fixed\n  block: 4"))
    with pytest.raises(InputError, match=r"pe.block \(line \d+\): a fixed element does not use this key"):
        dse.load_hardware(path)
