"""A family of formats from outside: one record, and names, plans, quantizers, costs and accumulators know it."""

import re

import numpy as np
import pytest

import dse
from dse.errors import InputError
from dse.precision.formats import (
    FAMILIES,
    DynamicRange,
    Family,
    Format,
    Spelling,
    accumulator_bits,
    format_problem,
    multiplier_bits,
    parse_format,
    register,
    stored_bits,
)
from dse.precision.formats.quantize import quantize


def _spelled(match: re.Match, option: str) -> Format | None:
    bits = int(match[1])
    return None if option or not 2 <= bits <= 4 else Format(f"zz{bits}", "zz", bits, granularity="tensor", scale_bits=32)


def _rounded(x, form, rounder, axes, channel_axis):
    """Odd multiples of half a step: no zero."""
    step = 2.0 * (np.abs(x).max() or 1.0) / (2**form.element_bits - 1)
    return (np.clip(rounder(x / step - 0.5), -(2 ** (form.element_bits - 1)), 2 ** (form.element_bits - 1) - 1) + 0.5) * step


def family(**changes) -> Family:
    made = {
        "name": "zz",
        "spellings": (Spelling("zz([0-9])", _spelled),),
        "known": ("zz2 ... zz4",),
        "near": ("zz2", "zz3", "zz4"),
        "quantizer": _rounded,
        "values": lambda form: DynamicRange(2.0**form.element_bits - 1, 1.0, 1.0),
        "multiplier_bits": lambda form: form.element_bits + 1,
        "largest_code": lambda form: 2**form.element_bits - 1,
        "significant_bits": lambda form: form.element_bits,
        "converter": "scale",
        "ranges": lambda form: 1,
    }
    return Family(**{**made, **changes})


@pytest.fixture
def registered():
    register(family())
    yield
    del FAMILIES["zz"]
    parse_format.cache_clear()


def test_everything_reads_the_record(registered):
    form = parse_format("zz3")
    assert (stored_bits(form), multiplier_bits(form), accumulator_bits(form, parse_format("int8"), 10)) == (3.0, 4, 15)
    assert "zz2 ... zz4" in format_problem("zz9")
    assert quantize([1.0, -0.4, 0.1], form) == pytest.approx([1.0, -3 / 7, 1 / 7])
    net = dse.load_workload("cifar_resnet20")
    hardware = dse.load_hardware("flex_trainer")
    plan = dse.Plan.parse("weight=zz3,activation=zz3,error=int4", net)
    again = dse.Plan.from_formats(net, {"weight": "int4", "activation": "int4", "error": "int4"})
    total = dse.evaluate(net, hardware, [plan, again]).total
    assert total.feasible.all()
    # A multiplier of 4 bits as int4's, fewer bits stored: cheaper, and as fast where nothing waits for memory.
    assert total.energy_j[0] < total.energy_j[1]
    assert total.bitops[0] == total.bitops[1]


def test_torch_rounds_by_the_reference_where_it_has_no_faster_way(registered):
    torch = pytest.importorskip("torch")
    from dse.training.rounded.quantize import quantize as on_torch

    x = torch.randn(5, 7, dtype=torch.float64)
    assert on_torch(x, "zz4").numpy() == pytest.approx(quantize(x.numpy(), "zz4"))
    mean = torch.stack([on_torch(x, "zz4", torch.Generator().manual_seed(seed)) for seed in range(300)]).mean(0)
    assert (mean - x).abs().max() < 0.15 * x.abs().max()


def test_a_record_that_cannot_be_read_is_refused():
    with pytest.raises(InputError, match="does not read its own 'zz9'"):
        register(family(near=("zz9",)))
    with pytest.raises(InputError, match="'int4' is read by int"):
        register(family(name="other", spellings=(Spelling("int([0-9])", lambda match, option: parse_format("int4")),), near=("int4",)))
    with pytest.raises(InputError, match="no spelling"):
        register(family(spellings=()))
    assert "zz" not in FAMILIES
