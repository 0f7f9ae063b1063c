"""What a mapper may not choose, by pass and kind of layer: one rule per line, in files and on the command line.

    [PASS or KIND[,...]: ]KEY=VALUE[,VALUE...]

===================== =====================================================================================
``stationary=ROLE``   the role whose operand is held innermost
``tiles.DIM=1,4``     sizes that a loop dim may have inside a memory (1 and the whole dim are always allowed)
``unroll.AXIS=C,R``   dims that may be unrolled along an axis, of those that it takes in the pass; nothing after ``=``: none
``bypass.MEMORY=ROLE``  operands that pass a memory by
``keep.MEMORY=ROLE``    operands that may not pass it by
===================== =====================================================================================

Passes are ``forward``, ``backward_data``, ``backward_weight``; kinds ``conv``, ``depthwise`` (groups of one channel), ``pointwise``
(no window) and ``product`` (fully connected layers and attention). Without either a rule holds for all. A backward_data that runs
gathered (:mod:`dse.cost.mapped.best_jobs`) runs as a forward pass and follows its rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dse.errors import InputError, Problem
from dse.hardware.model import KEYS, KINDS, Hardware, MappingRule
from dse.names import DIMS, PASSES, ROLES
from dse.yaml_input import suggest


def with_rules(hardware: Hardware, lines: Sequence[str], source: str = "--constraint") -> Hardware:
    """The hardware whose mapper keeps these rules too.

    Raises
    ------
    InputError
        Every line that is no rule, or names what the hardware does not have, with what would be right.
    """
    problems: list[Problem] = []
    rules = []
    for number, line in enumerate(lines):
        where = f"constraints[{number}]" if source != "--constraint" else f"'{line}'"
        found = parse_rule(hardware, line)
        if isinstance(found, MappingRule):
            rules.append(found)
        else:
            problems += [Problem(where, text) for text in found]
    every = (*hardware.rules, *rules)
    if not problems:
        problems += [Problem("", text) for text in _clashes(every)]
    if problems:
        raise InputError(source, problems)
    return replace(hardware, rules=every)


def parse_rule(hardware: Hardware, line: str) -> MappingRule | list[str]:
    """A rule from its line, or what is wrong with it."""
    scope, _, rest = line.rpartition(":")
    words = [word.strip() for word in scope.split(",") if word.strip()]
    wrong = [
        f"'{word}' is no pass and no kind of layer{suggest(word, (*PASSES, *KINDS))}"
        for word in words
        if word not in (*PASSES, *KINDS)
    ]
    left, equals, right = rest.partition("=")
    key, _, name = left.strip().partition(".")
    values = tuple(word.strip() for word in right.split(",") if word.strip())
    if key not in KEYS:
        return [*wrong, f"'{key}' is no key of a rule{suggest(key, KEYS)}; such as 'depthwise: unroll.AXIS=R,S'"]
    if not equals:
        return [*wrong, f"expected '=' after '{left.strip()}' and what it may be"]
    passes, kinds = tuple(w for w in PASSES if w in words), tuple(w for w in KINDS if w in words)
    rule = MappingRule(passes, kinds, key, name, values)
    wrong += _named(hardware, rule)
    return wrong or rule


def _named(hardware: Hardware, rule: MappingRule) -> list[str]:
    """What a rule names and the hardware does not have."""
    if rule.key == "stationary":
        text = "stationary takes one role, as in 'stationary=weight'"
        return [text] if rule.name or len(rule.values) != 1 else _unknown(rule.values, ROLES, "role")
    if rule.key == "tiles":
        wrong = _unknown((rule.name,), tuple(d for d in DIMS if d != "G"), "dim of a tile")
        sizes = [x for x in rule.values if not x.isdigit() or int(x) < 1]
        return (
            wrong
            + [f"expected sizes of at least 1, got '{x}'" for x in sizes]
            + ([] if rule.values else ["expected sizes, got none"])
        )
    if rule.key == "unroll":
        axes = {axis.name: axis for axis in hardware.axes}
        if rule.name not in axes:
            return _unknown((rule.name,), tuple(axes), "axis")
        wrong = _unknown(rule.values, tuple(DIMS), "dim")
        taken = {pass_: axes[rule.name].dims[pass_] for pass_ in rule.passes or PASSES}
        for pass_, dims in taken.items():
            odd = [d for d in rule.values if d in DIMS and d not in dims]
            if odd and not wrong and not (hardware.inference_only and not rule.passes and pass_ != "forward"):
                takes = " ".join(dims) or "nothing"
                hint = (
                    ""
                    if rule.passes
                    else f"; say where it holds, as in '{PASSES[0]}: unroll.{rule.name}={','.join(rule.values)}'"
                )
                wrong.append(f"axis '{rule.name}' takes {takes} in the {pass_} pass, not {' '.join(odd)}{hint}")
                break
        return wrong
    memories = {memory.name: memory for memory in hardware.memories[:-1]}
    if rule.name not in memories:
        return _unknown((rule.name,), tuple(memories), "memory on the chip")
    wrong = _unknown(rule.values, ROLES, "role") or ([] if rule.values else ["expected a role, got none"])
    held = memories[rule.name].roles
    wrong += [
        f"'{rule.name}' does not hold the {role}; it holds {', '.join(held)}"
        for role in rule.values
        if role in ROLES and role not in held
    ]
    if rule.key == "bypass" and not hardware.bypass and not wrong:
        wrong.append(f"{hardware.name} says 'bypass: false': its wires lead through every memory")
    return wrong


def _unknown(words: Sequence[str], known: Sequence[str], noun: str) -> list[str]:
    return [f"'{word}' is no {noun}{suggest(word, known)}" for word in words if word not in known]


def _clashes(rules: Sequence[MappingRule]) -> list[str]:
    """Operands that some nest would have to keep and to pass by."""
    wrong = []
    for a in (rule for rule in rules if rule.key == "keep"):
        for b in (rule for rule in rules if rule.key == "bypass" and rule.name == a.name):
            both = set(a.values) & set(b.values)
            meet = not a.passes or not b.passes or set(a.passes) & set(b.passes)
            if both and meet and (not a.kinds or not b.kinds or set(a.kinds) & set(b.kinds)):
                wrong.append(f"'{a.name}' has to keep the {sorted(both)[0]} and to be passed by it; leave one rule out")
    return wrong
