"""Fused against unfused pairs of AccelForge (its model, not silicon): traffic of main memory, theirs and ours.

    python benchmarks/fused_unfused.py FILE

FILE has the columns ``arch, workload, params, mode, mainmemory_read_actions, mainmemory_write_actions``. Compared are chains of
products and transformer layers on the accelerators whose conventions follow from the file itself:

* ``simple`` has no buffer: every multiply-accumulate reads both operands and its sum (but for the first) and writes it, 8 bits per
  value, fused or not; chains alone
* ``tpu_v4i`` has 128 MB, ``snowcat`` as much as it needs: 8 bits per value in chains, 16 in transformer layers. Ours: a machine
  with 128 MB; ``none`` (in transformer layers ``vector``: a softmax that streams) for ``unfused``, ``best`` for ``fused``

Where ours differs, the difference is listed as terms that are computed from the shape and from what meets on the chip in ours;
what they leave over is the residual. Ends with one JSON line: ``rows, skipped, exact, explained, unexplained, worst`` (residual as
a share of theirs).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import dse
from dse.hardware.model import Hardware
from dse.workload.load import network_from_document
from dse.workload.model import Network
from dse.yaml_input import parse_yaml

#: Shared memory of the second accelerator, bits.
SHARED = 128 * 2**23
#: Model of each transformer: features, heads, features of a head, inner features.
TRANSFORMERS = {"gpt3_175B": (12288, 96, 128, 49152), "gpt3_6.7B": (4096, 32, 128, 16384)}


@dataclass(frozen=True)
class Compared:
    """Ours beside theirs, bits, and the terms that explain a difference: ours minus theirs."""

    ours: float
    theirs: float
    terms: dict[str, float]

    @property
    def residual(self) -> float:
        """Share of theirs that no term explains."""
        return (self.ours - self.theirs - sum(self.terms.values())) / self.theirs


def parameters(text: str) -> dict[str, int | str]:
    """``KN=64,M=64`` as a mapping."""
    found: dict[str, int | str] = {}
    for part in text.split(","):
        if "=" in part:
            name, value = part.split("=")
            found[name] = int(value) if value.isdecimal() else value
    return found


def chain(rows: int, width: int, count: int) -> Network:
    """Products one after the other, each of ``rows`` x ``width`` with a square weight."""
    layers = "\n".join(f"  - {{op: linear, name: product{n}, K: {width}}}" for n in range(count))
    return _network(f"input: {{tokens: {rows}, C: {width}}}\nlayers:\n{layers}\n", "chain")


def transformer(name: str, tokens: int, past: int) -> Network:
    """A layer without norms and sums: attention and two products."""
    width, heads, head, inner = TRANSFORMERS[name]
    text = f"input: {{tokens: {tokens}, C: {width}}}\nlayers:\n"
    text += f"  - {{op: attention, name: attn, heads: {heads}, head_dim: {head}, past: {past}}}\n"
    text += f"  - {{op: linear, name: up, K: {inner}}}\n  - {{op: linear, name: down, K: {width}}}\n"
    return _network(text, name)


def _network(text: str, name: str) -> Network:
    head = "source: as in the file\nbatch: 1\nsamples: 1\nepochs: 1\noptimizer: sgd\n"
    return network_from_document(parse_yaml(head + text, f"{name}.yaml"), name)


def machine() -> Hardware:
    """An accelerator with one large shared memory for all operands."""
    hardware = dse.load_hardware("flex_trainer")
    memories = tuple(
        replace(m, size_bits=SHARED, read_pj_per_bit=0.1, write_pj_per_bit=0.1) if m.name == "buffer" else m
        for m in hardware.memories
    )
    return replace(hardware, memories=memories, space=(), modelled_leakage=False)


def ours_of(network: Network, fusion: str, bits: int) -> tuple[float, dict[str, str]]:
    """Bits that DRAM moves, counted at 8 bits per value, which the machine multiplies, and scaled; and the groups of layers."""
    cost = dse.evaluate(network, machine(), "w8a8", mode="inference", fusion=fusion)
    groups = {str(row.layer): str(row.group) for row in cost.layers.itertuples()}
    return float(cost.total["dram_bits"].iloc[0]) * bits / 8, groups


def without_buffer(network: Network, bits: int) -> float:
    """Bits that move where every operand of every product comes from DRAM and every sum goes there."""
    moved = 0.0
    for layer in network.mac_layers:
        macs, results = layer.macs, layer.output_elements
        moved += (2 * macs + (macs - results) + macs) * bits
    return moved


def compared(row: dict[str, str]) -> Compared | None:
    """Ours beside a row of the file; None where its accelerator or workload is not modelled here."""
    given = parameters(row["params"])
    theirs = float(row["mainmemory_read_actions"]) + float(row["mainmemory_write_actions"])
    if row["arch"] not in ("simple", "tpu_v4i", "snowcat"):
        return None
    terms: dict[str, float] = {}
    fused = row["mode"] == "fused"
    if row["workload"] in ("matmuls", "three_matmuls_annotated"):
        # The second one has three products of 128 x 128 x 128: its actions without a buffer say so.
        rows, width, count = (int(given["M"]), int(given["KN"]), int(given["N_EINSUMS"])) if given else (128, 128, 3)
        network, bits = chain(rows, width, count), 8
        if row["arch"] == "simple":
            return Compared(without_buffer(network, bits), theirs, terms)
        return Compared(ours_of(network, "best" if fused else "none", bits)[0], theirs, terms)
    name = row["workload"]
    if name not in TRANSFORMERS or row["arch"] == "simple" or given.get("BATCH_SIZE", 1) != 1:
        return None
    width, heads, head, inner = TRANSFORMERS[name]
    tokens, past = int(given["N_NEW_TOKENS"]), int(given.get("N_CACHED_TOKENS", 0))
    network, bits = transformer(name, tokens, past), 16
    unit = float(tokens * width * bits)
    if past:
        terms["a key and a value of the token itself, read with those of the cache"] = 2.0 * heads * head * bits
        if not fused:
            terms["a score of the token itself with its softmax, written and read"] = 4.0 * heads * bits
    ours, groups = ours_of(network, "best" if fused else "vector", bits)
    if fused:
        terms["the input, read by each projection"] = 2 * unit
        # Theirs keeps all but keys and values on the chip; ours where a group holds both ends.
        for maker, reader, elements in (
            ("attn.q_proj", "attn.scores", tokens * width),
            ("attn.context", "attn.o_proj", tokens * width),
            ("attn.o_proj", "up", tokens * width),
            ("up", "down", tokens * inner),
        ):
            if not groups[maker] or groups[maker] != groups[reader]:
                terms[f"what {reader} reads of {maker}, written and read"] = 2.0 * elements * bits
    return Compared(ours, theirs, terms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    rows = list(csv.DictReader(line for line in parser.parse_args().file.open() if not line.startswith("#")))
    found = {}
    for number, row in enumerate(rows):
        if (item := compared(row)) is not None:
            found[number] = item
            label = (
                f"{row['arch']:8s} {row['workload']:24s} {row['mode']:8s} {re.sub('BATCH_SIZE=1,', '', row['params'])}"
            )
            print(f"{label:90s} ours {item.ours:.6g} theirs {item.theirs:.6g} residual {item.residual:+.2%}")
            for text, value in item.terms.items():
                print(f"{'':24s}{value / item.theirs:+.3%}  {text}")
    exact = [item for item in found.values() if math.isclose(item.ours, item.theirs, rel_tol=1e-12)]
    explained = [item for item in found.values() if item not in exact and abs(item.residual) < 1e-9]
    print(
        json.dumps(
            {
                "rows": len(rows),
                "skipped": len(rows) - len(found),
                "exact": len(exact),
                "explained": len(explained),
                "unexplained": len(found) - len(exact) - len(explained),
                "worst": max((abs(item.residual) for item in found.values()), default=0.0),
            }
        )
    )


if __name__ == "__main__":
    main()
