"""What run.json of a run folder may hold where a report, an export or a comparison reads it; anything else may stand beside it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: A figure; pages and tables hold them in 32 bits.
Number = Annotated[float, Field(ge=-3e38, le=3e38, allow_inf_nan=False)]
Cell = str | bool | int | Number | None


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class WorkloadInfo(_Open):
    """A network of the run."""

    name: str | None = None
    path: str | None = None
    source: str | None = None
    macs: Number | None = None
    parameters: Number | None = None
    layers: int | None = None
    batch: int | None = None
    optimizer: str | None = None


class ParameterInfo(_Open):
    """A number of the hardware that was searched."""

    name: str
    values: list[Number] | str | None = None
    default: Number | None = None


class HardwareInfo(_Open):
    """The hardware of the run."""

    name: str | None = None
    path: str | None = None
    description: str | None = None
    sources: dict[str, str] | None = None
    space: list[ParameterInfo] | None = None


class ProfileInfo(_Open):
    """The sensitivity profile of the run."""

    name: str | None = None
    source: str | None = None
    unit: str | None = None
    loo_error_pp: Number | None = None
    assumptions: list[str] | None = None


class BaselineInfo(_Open):
    """A plan that the run is held against."""

    name: str | None = None
    role: str | None = None
    design: str | None = None
    note: str | None = None
    feasible: bool | None = None
    latency_s: Number | None = None
    energy_j: Number | None = None
    area_mm2: Number | None = None
    accuracy_drop_pp: Number | None = None
    accuracy_drop_low_pp: Number | None = None
    accuracy_drop_high_pp: Number | None = None
    keeps_limit: bool | None = None


class StepInfo(_Open):
    """What a design costs after one more of its ingredients."""

    step: str
    assumption: str | None = None
    latency_s: Number | None = None
    energy_j: Number | None = None
    area_mm2: Number | None = None
    accuracy_drop_pp: Number | None = None
    accuracy_drop_low_pp: Number | None = None
    accuracy_drop_high_pp: Number | None = None


class LimitInfo(_Open):
    """A hard limit."""

    limit: str | None = None
    bound: Number | None = None
    quantity: str | None = None
    share_of_front_bound: Number | None = None
    infeasible_trials: int | None = None


class SensitivityInfo(_Open):
    """How much of an objective hangs on a parameter."""

    objective: str
    parameter: str
    total_order: Number | None = None


class QuantityInfo(_Open):
    """Words for a column."""

    label: str | None = None
    unit: str | None = None
    meaning: str | None = None


class CertificateInfo(_Open):
    """What is proven."""

    text: str | None = None


class RunInfo(_Open):
    """Top level of run.json."""

    name: str | None = None
    dse_version: str | None = None
    model_version: str | int | None = None
    command: str | None = None
    per: str | None = None
    mode: str | None = None
    strategy: str | None = None
    sampler: str | None = None
    started: str | None = None
    seed: int | None = None
    jobs: int | None = None
    seconds: Number | None = None
    hypervolume: Number | None = None
    max_accuracy_drop_pp: Number | None = None
    confidence: Number | None = None
    workload: WorkloadInfo | None = None
    workloads: list[WorkloadInfo] | None = None
    hardware: HardwareInfo | str | None = None
    profile: ProfileInfo | None = None
    certificate: CertificateInfo | None = None
    counts: dict[str, Number] | None = None
    versions: dict[str, str] | None = None
    objectives: list[str] | None = None
    notes: list[str] | None = None
    left_out: list[str] | None = None
    assumptions: list[str] | None = None
    baselines: list[BaselineInfo] | None = None
    waterfall: list[StepInfo] | None = None
    limits: list[LimitInfo] | None = None
    sensitivity: list[SensitivityInfo] | None = None
    validation: list[dict[str, Cell]] | None = None
    quantities: dict[str, QuantityInfo] | None = None
