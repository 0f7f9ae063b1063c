"""Integer arithmetic on the parameters of a workload's blocks."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

from dse.yaml_input import suggest

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def evaluate_expression(text: str, scope: Mapping[str, int]) -> int:
    """Integer arithmetic with + - * // on parameter names.

    >>> evaluate_expression("4*K//2", {"K": 64})
    128

    Raises
    ------
    ValueError
        Anything else, with the names that are known.
    """

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name):
            if node.id not in scope:
                raise ValueError(f"'{node.id}' is no parameter here{suggest(node.id, scope)}")
            return scope[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.FloorDiv) and right == 0:
                raise ValueError(f"'{text}' divides by zero")
            return _OPERATORS[type(node.op)](left, right)
        raise ValueError(f"expected an integer or + - * // of parameters, got '{text}'")

    if len(text) > 100:
        raise ValueError("expected an integer or a short expression of parameters")
    try:
        return value(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError):
        raise ValueError(f"expected an integer or + - * // of parameters, got '{text}'") from None
