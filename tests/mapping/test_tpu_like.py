"""ResNet-18 on ZigZag's tpu_like with its prices, ports and conventions: our best mappings against its own search."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from dse.mapping.explicit.mapping import capacity_problems, check_mapping
from dse.mapping.explicit.text import format_mapping, parse_mapping

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tpu_like():
    spec = importlib.util.spec_from_file_location("tpu_like_benchmark", ROOT / "benchmarks" / "tpu_like.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
def test_no_layer_costs_more_energy_or_cycles_than_zigzags_search(tpu_like):
    """Energy by ZigZag's energy search, cycles by its latency search; ZigZag prints energies to 0.1 pJ."""
    found = tpu_like.compare(pool=8, starts=2)
    assert len(found) == 21
    cycles = [0.0, 0.0]
    for name, (thrifty, fast, (energy, _, _, fastest)) in found.items():
        print(f"{name}: energy {thrifty.energy_pj / energy:.6f}, cycles {fast.cycles / fastest:.4f} of ZigZag's")
        assert thrifty.energy_pj <= energy + 0.05, name
        assert fast.cycles <= fastest, name
        cycles = [cycles[0] + fast.cycles, cycles[1] + fastest]
        layer = tpu_like.resnet18()[name]
        for winner in (thrifty, fast):
            # as text, read back, checked against layer, array and capacities, and evaluated anew
            mapping = parse_mapping(format_mapping(winner.mapping))
            check_mapping(mapping, layer.nest, {"D1": 32, "D2": 32})
            sizes = {m["name"]: m["capacity_bits"] for m in tpu_like.reference()["memories"]}
            assert not capacity_problems(mapping, layer.nest, tpu_like.BITS, sizes)
            assert tpu_like.figures(mapping, layer) == (winner.energy_pj, winner.cycles)
    assert cycles[0] < 0.99 * cycles[1]
