"""``dse.evaluate`` takes what the evaluation of one accelerator takes."""

import inspect

import dse
from dse.cost.totals.evaluate import evaluate


def test_arguments_of_one_accelerator_are_those_of_its_evaluation():
    alone, front = (inspect.signature(function).parameters for function in (evaluate, dse.evaluate))
    assert list(front)[: len(alone)] == list(alone)
    assert {name: front[name].default for name in alone} == {name: item.default for name, item in alone.items()}
    assert set(front) - set(alone) == {"system", "parallel", "communication"}
