"""``dse.evaluate`` takes what the evaluation of one accelerator takes."""

import inspect
from dataclasses import fields
from typing import get_overloads

import dse
from dse.cost.totals.evaluate import EvaluateOptions, evaluate


def test_arguments_of_one_accelerator_are_those_of_its_evaluation():
    alone, front = (inspect.signature(function).parameters for function in (evaluate, dse.evaluate))
    assert list(front)[: len(alone)] == list(alone)
    assert {name: front[name].default for name in alone} == {name: item.default for name, item in alone.items()}
    assert set(front) - set(alone) == {"system", "parallel", "communication"}


def test_arguments_are_the_fields_of_one_record():
    """What both take by name, what types are told, and the record in which it travels, with the same defaults."""
    record = {field.name: field.default for field in fields(EvaluateOptions)}
    typed, _ = get_overloads(dse.evaluate)
    for function in (evaluate, dse.evaluate, typed):
        named = {
            name: item.default
            for name, item in inspect.signature(function).parameters.items()
            if item.kind is item.KEYWORD_ONLY and name not in ("system", "parallel", "communication")
        }
        assert named == record
        assert list(named) == list(record)
