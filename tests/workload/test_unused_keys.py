"""A key that means nothing where it stands is an error with its line, never silence."""

import re
from pathlib import Path

import pytest

from dse.errors import InputError
from dse.workload.from_file.keys import KEYS, NEST_KEYS
from dse.workload.from_file.nests import NestEntry
from dse.workload.from_file.schema import Operation
from dse.workload.load import network_from_document
from dse.workload.model import MAC_KINDS, VECTOR_KINDS, Layer, Network, network_text
from dse.yaml_input import parse_yaml

HEAD = "source: made up\nbatch: 1\nsamples: 1\nepochs: 1\noptimizer: sgd\n"
#: A value of each key that its schema takes.
VALUES = {
    "then": "[relu]", "of": "x", "arguments": "{}", "main": "[]", "shortcut": "[]", "branches": "[]", "project": "[a]",
    "out": "o", "routing": "worst", "name": "x",
    **{key: "true" for key, field in Operation.model_fields.items() if field.annotation is bool},
}  # fmt: skip


def problems(text):
    with pytest.raises(InputError) as caught:
        network_from_document(parse_yaml(HEAD + text, "net.yaml"), "net")
    return "\n".join(map(str, caught.value.problems))  # the message shows the first ones only


def test_a_grouped_linear_is_refused():
    """The reading without groups has 40,960 MACs for what was meant to have 10,240."""
    text = "input: {tokens: 10, C: 64}\nlayers:\n  - {op: linear, name: a, K: 64, groups: 4}\n"
    assert "layers[0].groups (line 8): op linear does not use this key" in problems(text)


@pytest.mark.parametrize("op", sorted(KEYS))
def test_every_operation_refuses_every_key_of_the_others(op):
    """Where it stands in a block, in a branch, and at the top: the schema's keys but those that the operation reads."""
    foreign = sorted(set(Operation.model_fields) - {"op", "name", "then", *KEYS[op]})
    keys = "".join(f", {key}: {VALUES.get(key, 3)}" for key in foreign)
    branch = f"[{{op: concat, branches: [[{{op: {op}, name: b{keys}}}]]}}]"
    text = (
        "input: {C: 3, H: 8, W: 8}\n"
        f"blocks: {{never: {{layers: {branch}}}}}\n"
        "layers:\n  - {op: conv, name: c, K: 3}\n"
        f"  - {{op: {op}, name: a{keys}}}\n"
    )
    message = problems(text)
    for key in foreign:
        assert f"layers[1].{key} (line 10): op {op} does not use this key" in message
        assert f"blocks.never.layers[0].branches[0][0].{key} (line 7): op {op} does not use this key" in message


@pytest.mark.parametrize("kind", [*MAC_KINDS, *VECTOR_KINDS])
def test_every_kind_of_nest_refuses_every_key_of_the_others(kind):
    values = {
        "tie": "t", "function": "relu", "routing": "worst", "passes": "[forward]", "reads": "[x]", "reads_second": "[x]",
        "folded": "{input: 1, output: 1, taps: 1}", "mask": "{dim: K, queries: 1, window: 1}",
        **{key: "true" for key, field in NestEntry.model_fields.items() if field.annotation is bool},
    }  # fmt: skip
    foreign = sorted(set(NestEntry.model_fields) - {"name", "kind", *NEST_KEYS[kind]})
    keys = "".join(f", {key}: {values.get(key, 2)}" for key in foreign)
    message = problems(f"nests:\n  - {{name: c, kind: fc}}\n  - {{name: a, kind: {kind}{keys}}}\n")
    for key in foreign:
        assert f"nests[1].{key} (line 8): a {kind} layer does not use this key" in message


def test_tables_name_every_operation_and_kind():
    operations = Operation.model_fields["op"].annotation.__args__
    assert set(KEYS) == set(operations)
    assert set(NEST_KEYS) == {*MAC_KINDS, *VECTOR_KINDS}
    assert {key for used in KEYS.values() for key in used} | {"op", "name", "then"} == set(Operation.model_fields)
    assert {key for used in NEST_KEYS.values() for key in used} | {"name", "kind"} == set(NestEntry.model_fields)


def test_a_layer_that_uses_all_keys_of_its_kind_is_read_back():
    text = network_text(
        Network("net", "made up", (Layer("a", "fc", N=3, G=2, K=4, C=5, bias=True, experts=6, routing="worst"),), 1, 1, 1)
    )
    assert network_from_document(parse_yaml(text, ""), "net").layers[0].routing == "worst"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers: [{op: conv, name: c, K: 3}, {op: tokens, count: 2}]", "counts learned tokens, which have a name"),
        (
            "layers: [{op: block, of: b, name: x, first: 2}]\nblocks: {b: {layers: [{op: conv, name: c, K: 3}]}}",
            "is the first number of {i} in the name, which has none",
        ),
    ],
)
def test_keys_that_need_another_one(text, message):
    assert message in problems(f"input: {{C: 3, H: 8, W: 8}}\n{text}\n")


def test_the_page_on_networks_lists_the_keys_of_every_operation():
    page = (Path(__file__).parents[2] / "docs" / "own-network.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*`) \| (.*) \|$", page, re.MULTILINE)
    told = {op: tuple(re.findall("`(.*?)`", keys)) for ops, keys in rows for op in re.findall("`(.*?)`", ops)}
    assert told == dict(KEYS)
