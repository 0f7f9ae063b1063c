"""Parallel plans and system files: what they say, and what they refuse."""

import pytest

import dse
from dse.errors import InputError
from dse.shipped import shipped_names
from dse.system.from_file.load import system_from_document
from dse.system.model import Parallel
from dse.yaml_input import parse_yaml


def test_a_plan_is_read_from_its_letters_and_written_back():
    plan = Parallel.parse("d8t4p2")
    assert (plan.data, plan.tensor, plan.pipeline, plan.devices) == (8, 4, 2, 64)
    assert plan.label == "d8t4p2"
    whole = Parallel.parse("d4t2p3e8c2v2z1s1b16")
    assert Parallel.parse(whole.label) == whole
    assert (whole.expert, whole.context, whole.interleave, whole.zero) == (8, 2, 2, 1)
    assert (whole.sequence_parallel, whole.micro_batch, whole.devices) == (True, 16, 48)
    assert Parallel().label == "d1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("d8x2", "'x' is no letter"),
        ("d8d2", "'d' stands twice"),
        ("8d", "no plan such as d8t4p2"),
        ("", "no plan such as d8t4p2"),
        ("d0", "expected an integer from 1"),
        ("d2e3", "3 does not divide the 2 devices"),
        ("d2z4", "zero: expected one of"),
    ],
)
def test_a_wrong_plan_is_told(text, says):
    with pytest.raises(InputError, match=says):
        Parallel.parse(text)


def test_an_unknown_policy_of_recomputation_is_told():
    with pytest.raises(InputError, match="'selektive' is unknown; did you mean 'selective'"):
        Parallel(recompute="selektive")


@pytest.mark.parametrize("name", shipped_names("hwmodels/systems"))
def test_shipped_systems_say_their_sources(name):
    system = dse.load_system(name)
    assert len(system.source) > 20
    assert len(system.device.source) > 60
    assert all(len(link.source) > 20 for link in system.links)
    assert system.links[-1].devices == 0
    # Narrower elements are never slower, and no product is faster than the data sheet says.
    rates = [rate for _, rate in sorted(system.device.macs_per_s.items())]
    assert rates == sorted(rates, reverse=True)
    assert all(system.device.peak_macs_per_s[bits] >= rate for bits, rate in system.device.macs_per_s.items())


def test_all_problems_of_a_file_come_at_once():
    text = """description: a system
source: made up
device:
  source: made up
  name: chip
  rates: [{element_bits: 8, macs_per_s: 1.0e+12}, {element_bits: 8, macs_per_s: 2.0e+12}]
  memory_bytes: 1.0e+9
  memory_bytes_per_s: 1.0e+9
  efficiency_source: made up
  product_efficiency: 0.5
  memory_efficiency: 0.5
links:
  - {source: made up, name: a, devices: 8, bytes_per_s: 1.0e+9, latency_s: 0.0, efficiency: [{bytes: 2.0, share: 0.1}, {bytes: 1.0, share: 0.2}]}
  - {source: made up, name: b, devices: 8, bytes_per_s: 1.0e+9, latency_s: 0.0, efficiency: [{bytes: 1.0, share: 1.0}]}
execution: {source: made up}
"""
    with pytest.raises(InputError) as raised:
        system_from_document(parse_yaml(text, "s.yaml"), "s")
    said = str(raised.value)
    assert "8 bits have a rate already" in said
    assert "message sizes must rise" in said
    assert "the last level joins all devices" in said
    with pytest.raises(InputError, match="unknown key"):
        system_from_document(parse_yaml(text.replace("name: chip", "nam: chip"), "s.yaml"), "s")
