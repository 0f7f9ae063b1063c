"""Schedules: a plan over training time.

A schedule is a list of phases, stretches of iterations with the same formats. It knows no network until it is asked for
plans, so the same cyclic schedule serves all of them. A training run costs the sum over the **histogram** of plans, never
the cost of the plan of the mean width: costs are convex in bits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from dse.errors import InputError, Problem
from dse.names import MAC_OPERANDS, OPERANDS
from dse.precision.formats.properties import format_problem
from dse.precision.plans.plan import Plan
from dse.precision.plans.rules import Given, NamedNetwork
from dse.precision.policies.rules import loss_plateaus
from dse.precision.schedules.cyclic import cyclic_phases, random_phases
from dse.precision.schedules.file import placed, read_schedule
from dse.precision.schedules.phases import (
    Formats,
    Phase,
    Value,
    by_layer,
    forward_formats,
    given_formats,
    given_label,
    merged,
    widened,
)
from dse.precision.schedules.profiles import BETTER_SCHEDULES
from dse.precision.schedules.rules import integer_problems, require, width_name, width_problems
from dse.precision.schedules.trace_file import Trace, read_trace
from dse.showing import one_line
from dse.yaml_input import suggest


@dataclass(frozen=True)
class Schedule:
    """Formats over the iterations of a training run.

    Attributes
    ----------
    name
        For tables and figures.
    phases
        In order, at least one; neighbours differ.
    fixed
        Formats of operands that the phases leave out, such as ``(("stash", "actnn2"),)``.
    kept
        Layers whose weight and activation keep a format throughout.
    """

    name: str
    phases: tuple[Phase, ...]
    fixed: tuple[tuple[str, str], ...] = ()
    kept: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        count = len(self.phases)
        return one_line("Schedule", self.name, [f"{count} phase{'s' * (count > 1)}", f"{self.iterations:,} iterations"])

    @classmethod
    def static(cls, plan: str | Plan, iterations: int) -> Schedule:
        """One plan throughout; ``plan`` as ``w8a8e8``, the path of a plan's YAML, or a :class:`Plan`."""
        require(integer_problems("iterations", iterations, 1))
        return cls(f"static {given_label(plan)}", (Phase(int(iterations), given_formats(plan, "plan")),))

    @classmethod
    def cyclic(
        cls,
        low: int,
        high: int,
        backward: int | str = 8,
        cycles: int = 32,
        iterations: int = 64_000,
        curve: str = "cosine",
        chain: str = "repeated",
        family: str = "int",
        backward_low: int | None = None,
    ) -> Schedule:
        """Cyclic precision: weight and activation move between two widths, the error keeps its own.

        The defaults are CPT's (Fu et al., ICLR 2021); ``curve`` and ``chain`` are those of
        :mod:`dse.precision.schedules.profiles`.  With ``backward_low`` the error moves too, in step with the others: double-cyclic
        training (S. Kim and H. Kim, 2022).

        Parameters
        ----------
        low, high
            Bounds of the forward width, low <= high.
        backward
            Width of the error, or its format.
        cycles, iterations
            Cycles in the whole run; at least one iteration each, at most ten million.
        family
            ``int`` or ``bfp``: what to put before a width.
        backward_low
            Lower bound of the error's width, at most ``backward``, which is then a width and no format.
        """
        return cls(*cyclic_phases(low, high, backward, cycles, iterations, curve, chain, family, backward_low))

    @classmethod
    def random(
        cls,
        low: int,
        high: int,
        backward: int | str = 8,
        iterations: int = 64_000,
        hold: int = 100,
        seed: int = 0,
        family: str = "int",
    ) -> Schedule:
        """Random precision switch: the forward width is drawn anew every ``hold`` iterations, each with the same probability.

        Theirs (Double-Win Quant, ICML 2021; 2-in-1 Accelerator, MICRO 2021): widths drawn at random against adversarial attacks.
        Ours: how long a width holds (``hold=1`` draws at every iteration, as theirs do), since it decides only how often the array
        is set up anew.

        Parameters
        ----------
        low, high
            Bounds of the forward width, low <= high.
        backward
            Width of the error, or its format.
        hold
            Iterations between two draws.
        """
        return cls(*random_phases(low, high, backward, iterations, hold, seed, family))

    @classmethod
    def better(
        cls, name: str, low: int, high: int, backward: int | str = 8, cycles: int = 8, iterations: int = 64_000
    ) -> Schedule:
        """One of the ten schedules of Better Schedules (arXiv 2403.02243): LR LT CR CT RR RTH RTV ER ETH ETV."""
        if name not in BETTER_SCHEDULES:
            raise InputError(
                "schedule", [Problem("name", f"unknown schedule '{name}'{suggest(name, BETTER_SCHEDULES)}")]
            )
        curve, chain = BETTER_SCHEDULES[name]
        made = cls.cyclic(low, high, backward, cycles, iterations, curve, chain)
        return replace(made, name=f"{name} {low}-{high}/{backward}, {cycles} cycles")

    @classmethod
    def progressive(
        cls,
        switches: Sequence[int],
        iterations: int,
        forward: Sequence[int] = (3, 4, 6, 8),
        backward: Sequence[int] = (6, 6, 8, 8),
        family: str = "int",
    ) -> Schedule:
        """Widths that step up at given iterations; the default widths are FracTrain's (NeurIPS 2020).

        Parameters
        ----------
        switches
            First iteration of each further pair of widths, increasing, inside the run. Fewer switches than
            pairs: the last pairs are never reached, as when the loss did not settle.
        """
        problems = integer_problems("iterations", iterations, 1)
        problems += [
            problem for k, mark in enumerate(switches) for problem in integer_problems(f"switches[{k}]", mark, 1)
        ]
        for key, widths in (("forward", forward), ("backward", backward)):
            problems += [p for k, width in enumerate(widths) for p in width_problems(f"{key}[{k}]", family, width)]
        if not forward or len(forward) != len(backward):
            problems.append(
                Problem("backward", f"expected as many widths as forward ({len(forward)}), got {len(backward)}")
            )
        if len(switches) >= max(len(forward), 1):
            problems.append(
                Problem(
                    "switches", f"expected at most {len(forward) - 1} for {len(forward)} widths, got {len(switches)}"
                )
            )
        marks = [0, *switches, iterations]
        if not problems and any(after <= before for before, after in pairwise(marks)):
            problems.append(
                Problem("switches", f"expected increasing iterations between 0 and {iterations}, got {list(switches)}")
            )
        require(problems)
        phases = [
            Phase(int(after - before), forward_formats(f"{family}{b}", f"{family}{g}"))
            for (before, after), b, g in zip(pairwise(marks), forward, backward, strict=False)
        ]
        steps = "-".join(map(str, forward)) + "/" + "-".join(map(str, backward))
        return cls(f"progressive {steps}", merged(phases))

    @classmethod
    def progressive_from_losses(
        cls,
        losses: Sequence[float],
        iterations_per_epoch: int,
        forward: Sequence[int] = (3, 4, 6, 8),
        backward: Sequence[int] = (6, 6, 8, 8),
        threshold: float = 0.05,
        decay: float = 0.3,
    ) -> Schedule:
        """Widths that step up when a measured loss settles: :func:`dse.precision.policies.rules.loss_plateaus`.

        Parameters
        ----------
        losses
            Mean training loss of each epoch of the whole run.
        """
        problems = integer_problems("iterations_per_epoch", iterations_per_epoch, 1)
        if not len(losses):
            problems.append(Problem("losses", "expected the loss of at least one epoch, got none: zero iterations"))
        problems += [
            Problem(f"losses[{k}]", f"expected a finite number, got {loss!r}")
            for k, loss in enumerate(losses)
            if isinstance(loss, str) or not math.isfinite(loss)
        ]
        for key, value in (("threshold", threshold), ("decay", decay)):
            problems += [] if value >= 0.0 else [Problem(key, f"expected a number >= 0, got {value}")]
        require(problems)
        epochs = loss_plateaus(losses, threshold=threshold, decay=decay, switches=len(forward) - 1)
        total = len(losses) * iterations_per_epoch
        marks = [epoch * iterations_per_epoch for epoch in epochs if epoch < len(losses)]
        return cls.progressive(marks, total, forward, backward)

    @classmethod
    def piecewise(cls, parts: Sequence[tuple[int, str | Plan]], iterations_per_epoch: int = 1) -> Schedule:
        """Plans by epochs: ``[(159, "bfp4:64"), (1, "bfp6:64")]`` (Accuracy Booster: HBFP4, HBFP6 in the last epoch)."""
        problems = integer_problems("iterations_per_epoch", iterations_per_epoch, 1)
        problems += [] if len(parts) else [Problem("parts", "expected at least one, got none: zero iterations")]
        for index, (epochs, _) in enumerate(parts):
            problems += integer_problems(f"parts[{index}].epochs", epochs, 1)
        require(problems)
        phases = [
            Phase(int(epochs * iterations_per_epoch), given_formats(plan, f"parts[{index}].plan"))
            for index, (epochs, plan) in enumerate(parts)
        ]
        return cls("piecewise " + ", ".join(given_label(plan) for _, plan in parts), merged(phases))

    @classmethod
    def traced(
        cls,
        trace: str | Path | Trace,
        backward: int | str | None = None,
        iterations: int | None = None,
        layers: Sequence[str | None] | None = None,
        family: str = "int",
    ) -> Schedule:
        """Word lengths per layer over iterations, as a run or a figure gives them.

        Parameters
        ----------
        trace
            CSV file ``batch_iteration,layer0,layer1,...`` (see :func:`dse.precision.schedules.trace_file.read_trace`). A row
            holds until the next one. Columns are layers by name, or layers with MACs by position.
        backward
            Width or format of the error; None: the layer's word length too.
        iterations
            Length of the run; None: the last row holds as long as the one before.
        layers
            Names of the layers that the columns stand for; None for a column whose layer the network does not have.
        """
        trace = trace if isinstance(trace, Trace) else read_trace(trace, family)
        names = tuple(layers) if layers is not None else trace.layers
        problems = integer_problems("iterations", iterations, 1) if iterations is not None else []
        if backward is not None and (message := format_problem(width_name(family, backward))):
            problems.append(Problem("backward", message))
        require(problems)
        if len(names) != len(trace.layers):
            raise InputError(
                trace.source,
                [Problem("layers", f"expected {len(trace.layers)} names, one per column, got {len(names)}")],
            )
        starts = trace.iterations
        end = iterations if iterations is not None else starts[-1] + (starts[-1] - starts[-2] if len(starts) > 1 else 0)
        if end == 0:
            raise InputError(trace.source, [Problem("iterations", "one row does not say how long it holds; give them")])
        if end < starts[-1]:
            raise InputError(
                trace.source,
                [Problem("iterations", f"expected at least {starts[-1]}, where the trace ends, got {end}")],
            )
        phases = []
        for row, (before, after) in zip(trace.widths, pairwise((*starts, end)), strict=True):
            if after > before:
                forward: Value = tuple(
                    (name, f"{family}{width}") for name, width in zip(names, row, strict=True) if name
                )
                phases.append(
                    Phase(
                        after - before,
                        forward_formats(forward, forward if backward is None else width_name(family, backward)),
                    )
                )
        return cls(f"traced {Path(trace.source).stem}", merged(phases))

    @classmethod
    def load(cls, path: str | Path) -> Schedule:
        """Read a schedule's YAML; see :mod:`dse.precision.schedules.file`.

        Raises
        ------
        InputError
            Everything that is wrong with the file, with lines.
        """
        text = read_schedule(path)
        try:
            made: Schedule = getattr(cls, text.kind)(**text.arguments).keep(text.keep)
            for operand, name in text.formats.items():
                made = made.with_operand(operand, name)
        except InputError as error:
            raise placed(text.document, error) from None
        return made

    def keep(self, layers: Mapping[str, str]) -> Schedule:
        """The same schedule with some layers kept at a format (weight and activation)."""
        require(
            [Problem(f"keep.{layer}", problem) for layer, name in layers.items() if (problem := format_problem(name))]
        )
        return replace(self, kept=tuple({**dict(self.kept), **layers}.items()))

    def with_operand(self, operand: str, name: str) -> Schedule:
        """The same schedule with an operand that the phases leave out, such as the stash, in a format of its own."""
        problem = format_problem(name) if operand in OPERANDS else f"unknown operand{suggest(operand, OPERANDS)}"
        given = {item[0] for phase in self.phases if isinstance(phase.formats, tuple) for item in phase.formats}
        if not problem and operand in {*MAC_OPERANDS, *given}:
            # It would undo what the schedule is there for, without a word.
            problem = "the schedule itself says this operand's formats; only operands that it leaves out go here"
        require([Problem(f"formats.{operand}", problem)] if problem else [])
        return replace(self, fixed=tuple({**dict(self.fixed), operand: name}.items()))

    def rounded_up(self, widths: Sequence[int]) -> Schedule:
        """The same schedule on hardware that stores and multiplies some widths only: every width becomes the next such one.

        Widths of ``int`` and ``bfp`` formats change, other formats stay; the name says so.

        Parameters
        ----------
        widths
            What the hardware has, bits.

        Raises
        ------
        InputError
            A width beyond the widest, or a phase that is a whole plan or its file: both are refused, not cut off.
        """
        problems: list[Problem] = []
        phases = []
        for phase in self.phases:
            if isinstance(phase.formats, tuple):
                cells = tuple((operand, widened(value, widths, problems)) for operand, value in phase.formats)
                phases.append(replace(phase, formats=cells))
            else:
                problems.append(Problem("phases", "a plan or its file has no widths to round up; give formats"))
        require(problems)
        kept = tuple((layer, str(widened(name, widths, problems))) for layer, name in self.kept)
        require(problems)
        label = f"{self.name}, rounded up to {', '.join(map(str, sorted(widths)))} bits"
        return replace(self, name=label, phases=merged(phases), kept=kept)

    @property
    def iterations(self) -> int:
        """Length of the run."""
        return sum(phase.iterations for phase in self.phases)

    @property
    def changes(self) -> int:
        """How often formats change during the run: each time the hardware is reconfigured and weights are re-quantized."""
        return len(self.phases) - 1

    def histogram(self, net: NamedNetwork) -> list[tuple[Plan, float]]:
        """The different plans of the run and the share of its iterations that each one holds; shares sum to 1."""
        total = self.iterations
        held: Counter[Plan] = Counter()
        for plan, iterations in self.plans(net):
            held[plan] += iterations
        return [(plan, iterations / total) for plan, iterations in held.items()]

    def plans(self, net: NamedNetwork) -> list[tuple[Plan, int]]:
        """The plan of every phase, in order, with its iterations.

        Raises
        ------
        InputError
            The schedule's layers are not those of the network.
        """
        made: dict[Formats | Plan | Path, Plan] = {}
        for phase in self.phases:
            if phase.formats not in made:
                made[phase.formats] = self._plan(phase.formats, net)
        return [(made[phase.formats], phase.iterations) for phase in self.phases]

    def transitions(self, net: NamedNetwork) -> list[tuple[Plan, Plan, int]]:
        """Which plan follows which, and how often: what reconfiguration and re-quantization are charged for."""
        counts = Counter((before, after) for (before, _), (after, _) in pairwise(self.plans(net)))
        return [(before, after, count) for (before, after), count in counts.items()]

    def _plan(self, formats: Formats | Plan | Path, net: NamedNetwork) -> Plan:
        if isinstance(formats, Path):
            formats = Plan.load(formats, net)
        if isinstance(formats, Plan):
            if formats.layers != tuple(layer.name for layer in net.layers):
                raise InputError(
                    f"schedule '{self.name}'", [f"its plan is for '{formats.network}', the network is '{net.name}'"]
                )
            plan = formats
            for operand, name in self.fixed:
                plan = plan.with_operand(operand, name)
        else:
            given: dict[str, Given | Mapping[str, Given]] = {
                operand: value if isinstance(value, str) else by_layer(value, net, self.name)
                for operand, value in formats
            }
            given |= dict(self.fixed)
            plan = Plan.from_formats(net, given, default=given.get("activation") if "error" not in given else None)  # type: ignore[arg-type]
        return plan.keep(dict(self.kept)) if self.kept else plan
