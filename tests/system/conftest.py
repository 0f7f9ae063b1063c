"""Networks and rows that several tests of systems share."""

import csv
from functools import cache
from pathlib import Path

import pytest

from dse.precision import Plan
from dse.system.network.rows import rows_of
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def table():
    """Reads rows of a file of figures, whose first line names the source."""

    def read(name):
        first, *lines = (DATA / name).read_text().splitlines()
        assert first.startswith("# figures: ")
        return list(csv.DictReader(lines))

    return read


@cache
def _transformer(hidden, layers, heads, tokens, vocabulary=512, kv_heads=0, tied=False, optimizer="adam"):
    more = f", kv_heads: {kv_heads}" if kv_heads else ""
    shared = ", shared: true" if tied else ""
    return network_from_document(
        parse_yaml(
            f"""
source: a transformer of the tests
batch: 1
samples: 8
epochs: 1
optimizer: {optimizer}
input: {{tokens: {tokens}}}
blocks:
  layer:
    layers:
      - op: residual
        name: add_1
        main:
          - {{op: layernorm, name: ln_1}}
          - {{op: attention, name: attn, causal: true, heads: {heads}{more}}}
      - op: residual
        name: add_2
        main:
          - {{op: layernorm, name: ln_2}}
          - {{op: linear, name: fc, K: {4 * hidden}, then: [gelu]}}
          - {{op: linear, name: proj, K: {hidden}}}
layers:
  - {{op: embedding, name: wte, rows: {vocabulary}, K: {hidden}}}
  - {{op: block, of: layer, name: 'h.{{i}}', count: {layers}}}
  - {{op: layernorm, name: ln_f}}
  - {{op: linear, name: lm_head, K: {vocabulary}{shared}}}
  - {{op: loss, name: loss}}
""",
            "transformer.yaml",
        ),
        "transformer",
    )


@cache
def _rows(hidden, layers, heads, tokens, vocabulary=512, kv_heads=0, dropout=False, form="bf16", tied=False):
    net = _transformer(hidden, layers, heads, tokens, vocabulary, kv_heads, tied)
    return rows_of(net, Plan.uniform(net, form, form, form), dropout)


@pytest.fixture(scope="session")
def transformer():
    """Makes a transformer of given dims."""
    return _transformer


@pytest.fixture(scope="session")
def rows():
    """Makes the rows of a transformer of given dims under one format."""
    return _rows


@pytest.fixture(scope="session")
def small():
    return _rows(256, 8, 8, 128)
