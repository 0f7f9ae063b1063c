"""A product of two activations costs per sample what it costs for one: twice the batch is at most twice the energy."""

import itertools

import pytest

import dse
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

TEXT = """source: test
batch: {batch}
samples: {batch}
epochs: 1
optimizer: sgd
nests:
  - {{name: a, kind: matmul, N: 16, K: {K}, C: {C}}}
"""


@pytest.mark.parametrize("hardware", ["fp8_trainer", "tpu_like"])
@pytest.mark.parametrize(("K", "C"), [(8, 16), (24, 40), (64, 128)])
def test_twice_the_batch_is_at_most_twice_the_energy(hardware, K, C):
    energy = []
    for batch in (4, 8, 16):
        net = network_from_document(parse_yaml(TEXT.format(batch=batch, K=K, C=C), "net.yaml"), "net")
        text = "weight=fp8_e4m3,activation=fp8_e4m3,error=fp8_e5m2" if hardware == "fp8_trainer" else "w8a8e8"
        cost = dse.evaluate(net, dse.load_hardware(hardware), dse.Plan.parse(text, net), mapping_objective="energy")
        energy.append(float(cost.total["energy_j"][0]))
    assert all(more <= 2 * less * (1 + 1e-9) for less, more in itertools.pairwise(energy))
