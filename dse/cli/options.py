"""The program and the options that several of its commands take, each declared once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dse.cli.terminal import console, say
from dse.errors import InputError

app = typer.Typer(
    name="dse",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Explore the design space of low-precision neural-network training and inference accelerators.\n\n"
    "Example: dse explore workloads/imagenet_resnet.yaml",
    epilog="Exit codes: 0 done; 1 the program failed, which is a bug; 2 an input is wrong, every problem is named, also a limit "
    "that nothing can keep, with the nearest value that can be kept; 3 nothing feasible: no design that was asked for or tried "
    "keeps its limits, the limit and the shortfall or the nearest value are named; with 2 and 3 nothing is written; "
    "130 stopped by Ctrl-C, and --resume goes on.",
)


def shipped(*kinds: str) -> Callable[[str], list[str]]:
    """Completion in the shell: names that begin so."""

    def names(incomplete: str) -> list[str]:
        from dse.shipped import shipped_names

        return [name for kind in kinds for name in shipped_names(kind) if name.startswith(incomplete)]

    return names


WORKLOAD_HELP = "A workload file, or the name of a shipped one (see dse list)."
Workload = Annotated[str, typer.Argument(help=WORKLOAD_HELP, autocompletion=shipped("workloads"))]
SystemOption = Annotated[
    str | None,
    typer.Option(
        "--system",
        help="A system of accelerators: a file, or a shipped name such as dgx_h100.",
        autocompletion=shipped("hwmodels/systems"),
    ),
]
CommunicationOption = Annotated[
    str | None,
    typer.Option(
        "--communication",
        help="Of a system: formats of what collectives move, such as gradients=int8,weights=fp8; also tensor, "
        "dispatch and combine.",
    ),
]
HARDWARE_HELP = "A hardware file, or the name of a shipped one."
FusionOption = Annotated[
    str | None,
    typer.Option("--fusion", help="What runs fused: none, vector, resident or best; default: the hardware's."),
]
ConstraintOption = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        help="What the mapper may not choose, such as 'depthwise: unroll.rows=R,S', 'bypass.buffer=weight', 'tiles.K=1,4', "
        "'backward_data: stationary=weight', 'keep.buffer=activation'; may be given several times.",
    ),
]
HardwareOption = Annotated[str, typer.Option("--hardware", help=HARDWARE_HELP, autocompletion=shipped("hwmodels"))]
Channels = Annotated[bool, typer.Option("--per-tensor", help="One scale per weight tensor, not per channel.")]
Skip = Annotated[bool, typer.Option("--skip-unsupported", help="Keep layers that cannot be measured at 32 bits.")]
TableOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of measured costs (layer, format, latency_s, energy_pj) in place of hardware: docs/own-accelerator.md."
    ),
]
PlanText = Annotated[str, typer.Option(help="Such as w8a8e8, w4a8,stash=int4, fp32, fp8_linear, or a YAML file.")]
Mode = Annotated[str, typer.Option(help="training or inference.")]
Batch = Annotated[int | None, typer.Option(help="Samples per step; default: the workload's.")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]
DesignName = Annotated[str, typer.Argument(help="A design of its front, or knee, fastest or lowest-energy.")]
Images = Annotated[int, typer.Option(help="Images to measure on, evenly spaced over the data.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def numbers(option: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(option, [f"expected numbers separated by commas, got '{text}'"]) from None


@contextmanager
def measuring(
    what: str, again: str = "stopped; the same command goes on from here"
) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar with the time that the rest will take; Ctrl-C leaves what is measured for the same command to go on from."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, left="")
        try:
            yield lambda done, total, left: bar.update(task, completed=done, total=total, left=f"{left:.0f} s left")
        except KeyboardInterrupt:
            bar.stop()
            say(again, error=True)
            raise typer.Exit(130) from None
