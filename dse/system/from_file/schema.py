"""System files: devices, links and how the software of a system runs a step, every figure with its source."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dse.yaml_input import Key

Positive = Annotated[float, Field(gt=0, le=1e18, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class RateFile(_Strict):
    """Peak of products by the width of an element."""

    element_bits: Annotated[int, Field(ge=1, le=64)]
    """Widest element of the operands."""
    macs_per_s: Positive
    """Dense multiply-accumulates per second; two operations each."""
    efficiency: Share = 1.0
    """Measured share of the peak, relative to that of the device's other widths (``product_efficiency`` counts on top)."""


class DeviceFile(_Strict):
    """One accelerator."""

    source: Text
    """Where its figures were published."""
    name: Text
    """Name of the accelerator."""
    rates: Annotated[list[RateFile], Field(min_length=1, max_length=16)]
    """Its peaks, each width once."""
    memory_bytes: Positive
    """Size of its memory."""
    memory_bytes_per_s: Positive
    """Peak bandwidth of its memory."""
    efficiency_source: Text
    """What the efficiencies were fitted on or measured by."""
    product_efficiency: Share
    """Share of the peak that large products reach."""
    memory_efficiency: Share
    """Share of the bandwidth that work without MACs reaches."""
    attention_efficiency: Share = 1.0
    """Rate of fused attention as a share of that of other products."""
    cores: Count = 1
    """Cores over which the tiles of a product are spread."""
    power_w: Amount = 0.0
    """Power of the board at full load."""
    hardware: Text | None = None
    """Hardware model of the device, whose array gives the rates of formats (a name of ``dse list``)."""


class PointFile(_Strict):
    """Measured efficiency of a link."""

    bytes: Positive
    """Size of an all-reduce."""
    share: Share
    """Share of the peak bandwidth that it reaches."""


class LinkFile(_Strict):
    """One level of links, the innermost first."""

    source: Text
    """Where its figures were published."""
    name: Text
    """Name of the links."""
    devices: Annotated[int, Field(ge=0, le=10**9)]
    """Devices that the level joins; 0, of the last level: all."""
    bytes_per_s: Positive
    """Peak per device and direction."""
    latency_s: Seconds
    """Of one hop of a collective."""
    efficiency: Annotated[list[PointFile], Field(min_length=1, max_length=64)]
    """By message size, rising."""
    topology: Literal["switch", "ring", "torus"] = "switch"
    """How devices are joined; a torus has its bandwidth over all its links."""
    pj_per_bit: Amount = 0.0
    """Energy of a bit that leaves a device."""


class ExecutionFile(_Strict):
    """How the software of the system runs a step; see :class:`dse.system.model.Execution`."""

    source: Text
    """What the choices follow."""
    attention: Literal["fused", "unfused"] = "fused"
    """Whether scores and softmax reach memory."""
    causal_skip: bool = True
    """Whether fused attention leaves out what a causal mask makes zero."""
    fused_vector: bool = False
    """Whether element-wise layers run with their neighbours."""
    data_overlap: Part = 0.0
    """Share of the backward time behind which collectives of data parallelism hide."""
    shard_overlap: Part = 1.0
    """Share of the compute time behind which gathering of sharded weights hides."""
    pipeline_overlap: bool = True
    """Whether sends between stages hide behind compute."""
    tensor_overlap: Part = 0.0
    """Share of tensor-parallel collectives that hides behind products."""
    dropout: bool = False
    """Whether masks of dropout are drawn and kept."""
    issue_s: Seconds = 0.0
    """Time in which the host issues one pass of a layer."""
    micro_batch_s: Seconds = 0.0
    """Time of the host for the ends of a micro batch."""


class HostFile(_Strict):
    """What a host has for each of its devices."""

    source: Text
    """Where its figures were published."""
    bytes_per_s: Positive
    """Peak between a device and its host, one direction."""
    memory_bytes: Positive
    """Memory of the host, a device's share."""
    memory_bytes_per_s: Positive
    """Peak bandwidth of that memory, a device's share."""


class SystemFile(_Strict):
    """Top level of a system file; its name is that of the file."""

    description: Text
    """What it is, in a sentence."""
    source: Text
    """Where the system was published."""
    most_devices: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Devices that it can have; 0: any number."""
    device: DeviceFile
    """The accelerator."""
    links: Annotated[list[LinkFile], Field(min_length=1, max_length=8)]
    """Levels of links from the inside out."""
    host: HostFile | None = None
    """The host; without it nothing can be offloaded to it."""
    execution: ExecutionFile
    """Its software."""


def check(file: SystemFile) -> list[tuple[Key, str]]:
    """Rules between keys."""
    found: list[tuple[Key, str]] = []
    widths = [rate.element_bits for rate in file.device.rates]
    for index, width in enumerate(widths):
        if width in widths[:index]:
            found.append((("device", "rates", index, "element_bits"), f"{width} bits have a rate already"))
    inside = 1
    for index, link in enumerate(file.links):
        last = index == len(file.links) - 1
        if last and link.devices not in (0, file.most_devices):
            found.append((("links", index, "devices"), "the last level joins all devices: 0, or most_devices"))
        elif not last and link.devices <= inside:
            found.append(
                (("links", index, "devices"), f"expected more than the {inside} devices inside, got {link.devices}")
            )
        inside = link.devices
        sizes = [point.bytes for point in link.efficiency]
        if sizes != sorted(set(sizes)):
            found.append((("links", index, "efficiency"), "message sizes must rise"))
        elif any(a.bytes / a.share > b.bytes / b.share for a, b in pairwise(link.efficiency)):
            found.append((("links", index, "efficiency"), "a larger message takes less time than a smaller one"))
    return found
