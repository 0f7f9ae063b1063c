"""Measured training runs on many accelerators against the model: python benchmarks/clusters.py --kind KIND FILE.

Kinds and the columns that they read are in KINDS; rows that lack what is needed are skipped and counted by reason. The last line is
one JSON object of relative errors (ours / measured - 1). Nothing is tuned per row: what differs between kinds is how that software
ran, as its authors say (attention fused or not, what is recomputed, what overlaps), and stands at the head of each kind.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from clusters_networks import MODELS, MPT, Decoder, network

from dse.errors import InputError
from dse.precision import Plan
from dse.system import Communication, Parallel, System, load_system
from dse.system.network.rows import Rows, rows_of
from dse.system.plans.arrays import plans_of
from dse.system.plans.memory import GATHERED_BLOCKS, footprint, kept_bytes, parameter_bytes
from dse.system.plans.search import enumerate_plans, held_bytes
from dse.system.plans.times import step_times

GIB = 2.0**30


class Skipped(Exception):
    """A row that lacks what the model needs, and why."""


#: What a row with odd cells raises; its text is the reason for which the row is skipped.
ODD = (Skipped, InputError, ArithmeticError, KeyError, ValueError)


@dataclass(frozen=True)
class Result:
    """One compared figure: what it belongs to, what was measured, ours; ``pair`` joins formats of one model on one system."""

    by: str
    measured: float
    ours: float
    label: str = ""
    pair: tuple[str, ...] = ()
    format: str = ""
    group: str = ""

    @property
    def error(self) -> float:
        return self.ours / self.measured - 1.0


def text(row: dict[str, str], *names: str) -> str:
    """The first column of these names that is there and not empty, compared without case and punctuation."""
    plain: dict[str, str] = {}
    for key, value in row.items():
        if value not in (None, "", "None", "n/a", "nan"):
            plain.setdefault(re.sub(r"[^a-z0-9]", "", str(key).lower()), str(value).strip())
    return next((plain[key] for name in names if (key := re.sub(r"[^a-z0-9]", "", name.lower())) in plain), "")


def number(row: dict[str, str], *names: str, default: float | None = None) -> float:
    """A number from a cell; footnotes and thousands separators are left out."""
    found = re.match(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?", text(row, *names).replace(",", ""))
    if found:
        return float(found.group())
    if default is None:
        raise Skipped(f"no {names[0]}")
    return default


def integer(row: dict[str, str], *names: str, default: int | None = None) -> int:
    return int(number(row, *names, default=default))


#: Formats of the linear layers of the blocks, by the names of the tables; all else is BF16, as Transformer Engine's recipes say.
RECIPES = {
    "bf16": "", "fp8": "fp8_e4m3:tensor", "fp8cs": "fp8_e4m3:tensor", "fp8ds": "fp8_e4m3:tensor", "fp8mx": "mxfp8_e4m3",
    "mxfp8": "mxfp8_e4m3", "fp8subchannel": "fp8_e4m3:1x128", "nvfp4": "nvfp4",
}  # fmt: skip


@lru_cache(maxsize=512)
def rows(dims: Decoder, recipe: str = "", dropout: bool = False, plain: str = "bf16", frozen: bool = False) -> Rows:
    """A network's rows: linear layers of its blocks in a format, the rest in 16 (or 32) bits."""
    net = network(dims)
    plan = Plan.uniform(net, plain, plain, plain)
    if recipe:
        inner = {layer.name: recipe for layer in net.layers if layer.kind == "fc" and layer.name != "lm_head"}
        routers = {name for name in inner if name.endswith("moe.gate")}
        kept = {name: form for name, form in inner.items() if name not in routers}
        plan = plan.keep(kept, ("weight", "activation", "error")).keep(dict.fromkeys(kept, "bf16"), ("weight",))
        plan = plan.keep(kept, ("weight",))
    return rows_of(net, plan, dropout)


def step_s(found: Rows, parallel: Parallel, steps: int, system: System, communication: Communication) -> float:
    return float(step_times(found, plans_of([parallel], steps), system, communication).step[0])


# --- vTrain (MICRO 2024): Megatron with full recomputation, attention not fused, dropout, gradients summed in FP32 behind the last
# backward pass. Host times are fitted on the single-node rows; its nodes have four HDR ports (section 5 of the paper).

VTRAIN = {"attention": "unfused", "dropout": True, "causal_skip": False, "issue_s": 62.5e-6, "micro_batch_s": 6.5e-3}


def vtrain(table: list[dict[str, str]]) -> Iterator[Result | str]:
    base = load_system("dgx_a100").with_execution(**VTRAIN)
    system = replace(base, links=(base.links[0], replace(base.links[1], bytes_per_s=12.5e9)))
    for row in table:
        try:
            devices = integer(row, "# GPUs", "GPUs")
            hidden, layers = integer(row, "hidden size"), integer(row, "# layers", "layers")
            dims = Decoder(
                hidden, layers, integer(row, "attention heads"), integer(row, "sequence length"), vocabulary=51200, bias=True,
                positions=True, tied=True,
            )  # fmt: skip
            parallel = Parallel(
                integer(row, "data parallelism"), integer(row, "tensor parallelism"), integer(row, "pipeline parallelism"),
                micro_batch=integer(row, "micro batch"), recompute="full",
            )  # fmt: skip
            steps = max(integer(row, "global batch") // (parallel.data * parallel.micro_batch), 1)
            measured = number(row, "iteration time (ms)") / 1e3
        except ODD as reason:
            yield str(reason) or type(reason).__name__
            continue
        ours = step_s(rows(dims, dropout=True), parallel, steps, system, Communication())
        group = f"{hidden}/{layers}/{integer(row, 'global batch')}/{devices}"
        yield Result("multi" if devices > 8 else "single", measured, ours, f"{group} {parallel.label}", group=group)


def best_of_sets(found: list[Result]) -> dict[str, float]:
    """How much slower than the best measured plan of its set the one is that ours calls best; sets of at least three."""
    sets: dict[str, list[Result]] = defaultdict(list)
    for item in found:
        sets[item.group].append(item)
    gaps = [
        min(items, key=lambda item: item.ours).measured / min(item.measured for item in items) - 1.0
        for items in sets.values()
        if len(items) > 2
    ]
    return {"sets": len(gaps), "best_gap_mean": statistics.fmean(gaps), "best_gap_worst": max(gaps)} if gaps else {}


# --- Korthikanti et al. (arXiv 2205.05198): memory formulas (figures 1 and 7) and measured iteration times (table 5) on Selene.


def korthikanti(table: list[dict[str, str]]) -> Iterator[Result | str]:
    execution = {"attention": "unfused", "dropout": True, "causal_skip": False}
    system = load_system("dgx_a100").with_execution(**execution)
    policies = {"attn_only": "selective", "none": "none", "full": "full"}
    whole: dict[str, float] = {}
    for row in table:
        try:
            model, mode = text(row, "model"), text(row, "mode")
            dims = Decoder(
                integer(row, "hidden"), integer(row, "layers"), integer(row, "heads"), integer(row, "seq"), 51200,
                ffn=integer(row, "ffn", default=0), tied=True, positions=True,
            )  # fmt: skip
            parallel = Parallel(
                integer(row, "data_par"), integer(row, "tensor_par"), integer(row, "pipeline_par"),
                micro_batch=integer(row, "microbatch_size"), interleave=integer(row, "pipeline_interleaving", default=1),
                recompute=policies[text(row, "activation_recompute")],
                sequence_parallel=text(row, "tensor_par_comm_type") == "rs_ag",
            )  # fmt: skip
        except ODD as reason:
            yield str(reason) or type(reason).__name__
            continue
        found, plans = (
            rows(dims, dropout=True),
            plans_of([parallel], integer(row, "batch_size") // (parallel.micro_batch * parallel.data)),
        )
        blocks = dims.layers / parallel.pipeline
        p, v = parallel.pipeline, parallel.interleave
        flying = min(p + (p - 1) / v if v > 1 else p, float(plans.steps[0]))
        kept = float(kept_bytes(found, "block", plans, system.execution)[0]) / dims.layers * blocks * flying
        if parallel.recompute == "full":
            kept = found.crossing_bits / 8.0 * float((plans.samples * plans.whole_share)[0]) * blocks * flying
        if text(row, "params_opt_GiB"):
            held = sum(
                item.times * sum(float(part[0]) for part in parameter_bytes(item, plans, found.states).values())
                for item in found.of("block")
                if item.layer.has_macs
            )
            yield Result("memory", number(row, "params_opt_GiB"), held / p / GIB, f"{model} {mode} parameters")
            yield Result("memory", number(row, "activation_GiB"), kept / GIB, f"{model} {mode} activations")
        if text(row, "activation_percent"):
            if mode == "none":
                whole[model] = kept
            if model in whole:
                yield Result("share", number(row, "activation_percent"), 100 * kept / whole[model], f"{model} {mode}")
        if text(row, "iteration_s"):
            ours = step_s(found, parallel, int(plans.steps[0]), system, Communication(gradient=16.0))
            yield Result("time", number(row, "iteration_s"), ours, f"{model} {mode}")


# --- Megatron-LM's functional tests: peak of torch's allocator on the last rank, which writes the log, so of the last stage.

#: Cases whose memory is not that of training the one network that the columns describe.
NOT_ONE_NETWORK = (
    "grpo",
    "mimo",
    "multimodal",
    "hybrid",
    "nemotron",
    "check_grads",
    "modelopt_distill",
    "t5",
    "inference",
)


def megatron_memory(table: list[dict[str, str]]) -> Iterator[Result | str]:
    for row in table:
        case = text(row, "case")
        try:
            odd = next((name for name in NOT_ONE_NETWORK if name in case), None)
            if odd:
                raise Skipped(f"{odd}: more than the network of the columns")
            yield megatron_row(row, case)
        except ODD as reason:
            yield str(reason) or type(reason).__name__


def megatron_row(row: dict[str, str], case: str) -> Result:
    experts = integer(row, "num-experts", default=0)
    dims = Decoder(
        integer(row, "hidden-size"), integer(row, "num-layers"), integer(row, "num-attention-heads"), integer(row, "seq-length"),
        integer(row, "vocab-size", default=50304), ffn=integer(row, "ffn-hidden-size", default=0),
        kv_heads=integer(row, "num-query-groups", default=0), gated=text(row, "swiglu") == "True", bias=True,
        tied=text(row, "untie-embeddings-and-output-weights") != "True", positions=True, experts=experts,
        active=integer(row, "moe-router-topk", default=2) if experts else 1,
        moe_ffn=integer(row, "moe-ffn-hidden-size", default=0),
    )  # fmt: skip
    tensor, pipeline = (integer(row, f"{name}-model-parallel-size", default=1) for name in ("tensor", "pipeline"))
    context = integer(row, "context-parallel-size", default=1)
    devices = max(8, tensor * pipeline * context)
    per_piece = integer(row, "num-layers-per-virtual-pipeline-stage", default=0)
    pieces = integer(row, "num-virtual-stages-per-pipeline-rank", default=1)
    interleave = max(dims.layers // pipeline // per_piece, 1) if per_piece else pieces
    sharding = text(row, "data-parallel-sharding-strategy")
    zero = {"optim": 1, "optim_grads": 2, "optim_grads_params": 3}.get(sharding, 0)
    parallel = Parallel(
        devices // (tensor * pipeline * context), tensor, pipeline, integer(row, "expert-model-parallel-size", default=1), context,
        integer(row, "micro-batch-size"), interleave,
        zero or int(text(row, "use-distributed-optimizer") == "True"),
        {"full": "full", "selective": "selective"}.get(text(row, "recompute-granularity"), "none"),
        text(row, "sequence-parallel") == "True",
    )  # fmt: skip
    steps = max(integer(row, "global-batch-size") // (parallel.data * parallel.micro_batch), 1)
    unfused = text(row, "attention-backend") in ("unfused", "local") or text(row, "transformer-impl") == "local"
    system = load_system("dgx_h100").with_execution(attention="unfused" if unfused else "fused", dropout=True)
    held = footprint(rows(dims, dropout=True), plans_of([parallel], steps), system.execution, "last")
    size = "hidden>=4096" if dims.hidden >= 4096 else case.split("/")[0]
    return Result(size, number(row, "mem_max_bytes"), float(sum(held.values())[0]), f"{case} {parallel.label}")


# --- MosaicML's llm-foundry: FSDP, whose gathers its small micro batches do not hide; the first FlashAttention, which reaches 25 to
# 40 % of the A100's peak (Dao, arXiv 2307.08691, abstract) and was not written for the H100; no dropout; master weights in FP32.

FIRST_FLASH_ATTENTION = {"A100": 0.28, "H100": 0.17}


def mpt_system(gpu: str) -> System:
    base = load_system("dgx_h100" if gpu.startswith(("h100", "h800")) else "dgx_a100")
    kind = "H100" if gpu.startswith("h100") else "A100"
    device = replace(base.device, attention_efficiency=FIRST_FLASH_ATTENTION[kind] / base.device.product_efficiency)
    if "40gb" in gpu:
        device = replace(device, memory_bytes=40e9, memory_bytes_per_s=1555e9)
    return replace(base, device=device).with_execution(shard_overlap=0.0, data_overlap=1.0, fused_vector=False)


def mpt(table: list[dict[str, str]]) -> Iterator[Result | str]:
    for row in table:
        try:
            gpu = text(row, "GPU").lower()
            if not gpu.startswith(("a100", "h100")):
                raise Skipped(f"no system file for {gpu or 'a row without a GPU'}")
            name = text(row, "Model").lower()
            if name not in MPT:
                raise Skipped(f"unknown model {name}")
            hidden, layers, heads = MPT[name]
            tokens, devices = integer(row, "SeqLen (T)"), integer(row, "# GPUs")
            dims = Decoder(hidden, layers, heads, tokens, 50368, tied=True, positions=True)
            parallel = Parallel(
                data=devices, micro_batch=integer(row, "MicroBatchSize"),
                zero=3 if text(row, "Sharding Strategy") == "FULL_SHARD" else 2,
                recompute="full" if text(row, "Activation Checkpointing") == "True" else "none",
            )  # fmt: skip
            precision = "fp8" if "fp8" in text(row, "Precision").lower() else "bf16"
            steps = integer(row, "GradAccum", default=1)
            measured = number(row, "Throughput (T/s/GPU)")
        except ODD as reason:
            yield str(reason) or type(reason).__name__
            continue
        found = rows(dims, RECIPES[precision])
        took = step_s(found, parallel, steps, mpt_system(gpu), Communication(weight=16.0))
        ours = parallel.micro_batch * steps * tokens / took
        yield Result(
            f"{gpu} {precision}", measured, ours, f"{name} {tokens} {devices}", (name, gpu, str(tokens)), precision
        )


# --- Megatron-Bridge's performance summaries, and MLPerf's Llama 3.1 405B: Megatron Core and Transformer Engine.


def nvidia_system(name: str) -> System:
    plain = re.sub(r"[^a-z0-9]", "", name.lower().removeprefix("system:"))
    for part, file in (
        ("gb300", "gb300_nvl72"), ("gb200", "gb200_nvl72"), ("b200", "dgx_b200"), ("h200", "dgx_h200"), ("h100", "dgx_h100"),
        ("a100", "dgx_a100"),
    ):  # fmt: skip
        if part in plain:
            return load_system(file)
    raise Skipped(f"no system file for {name}")


def variants(row: dict[str, str]) -> list[dict[str, str]]:
    """A row with second values in brackets, ``1622 (1533)``, as two rows; brackets that hold words are notes."""
    second = {key: re.search(r"\((\s*[^)]*)\)", str(value)) for key, value in row.items()}
    inside = {key: found.group(1) for key, found in second.items() if found}
    numeric = {
        key: value for key, value in inside.items() if re.fullmatch(r"[\d.,]+|FP8-MX|MXFP8|NVFP4|BF16|FP8-CS", value)
    }
    first = {
        key: re.sub(r"\s*\([^)]*\)|\[\^[^\]]*\]", "", str(value)) if key != "Model" else value
        for key, value in row.items()
    }
    if not numeric:
        return [first]
    other = {**first, **numeric}
    if not text(row, "Precision"):
        first, other = {**first, "Precision": "FP8-CS"}, {**other, "Precision": "FP8-MX"}
    return [first, other]


def model_dims(name: str) -> Decoder:
    plain = re.sub(r"[^a-z0-9]", "", name.lower().split("(")[0])
    if plain not in MODELS:
        raise Skipped(f"no published dims for {name}")
    return MODELS[plain]


def bridge(table: list[dict[str, str]]) -> Iterator[Result | str]:
    for row in [item for one in table for item in variants(one)]:
        try:
            yield bridge_row(row)
        except ODD as reason:
            yield str(reason) or type(reason).__name__


def section_of(row: dict[str, str]) -> str:
    return text(row, "section").partition("System:")[2]


def bridge_row(row: dict[str, str]) -> Result:
    # The archive of older releases has the system where newer rows have the model.
    names = [str(row.get(key) or "") for key in ("Model", "model")]
    name = next((item for item in names if item and not item.startswith("System:")), "")
    system_name = text(row, "System") or next((item for item in names if item.startswith("System:")), section_of(row))
    section = text(row, "section")
    if "LoRA" in section or "SFT" in section:
        raise Skipped("fine-tuning of packed sequences")
    dims = replace(model_dims(name), tokens=integer(row, "Sequence Length"))
    system = nvidia_system(system_name)
    precision = re.sub(r"[^a-z0-9]", "", (text(row, "Precision") or "FP8-CS").lower())
    if precision not in RECIPES:
        raise Skipped(f"unknown precision {precision}")
    devices, tensor = integer(row, "#-GPUs", "GPUs"), integer(row, "TP", default=1)
    pipeline, context = integer(row, "PP", default=1), integer(row, "CP", default=1)
    sharded = integer(row, "FSDP", default=0)
    parallel = Parallel(
        max(devices // (tensor * pipeline * context), 1), tensor, pipeline,
        integer(row, "EP", default=1) if dims.experts else 1, context, integer(row, "MBS", default=1),
        max(integer(row, "VP", default=1), 1) if pipeline > 1 else 1, 3 if sharded > 1 else 1,
        sequence_parallel=tensor > 1,
    )  # fmt: skip
    steps = max(integer(row, "GBS") // (parallel.data * parallel.micro_batch), 1)
    found = rows(dims, RECIPES[precision])
    took = step_s(found, parallel, steps, system, Communication(gradient=32.0, dispatch=16.0))
    ours = steps * parallel.micro_batch * parallel.data * dims.tokens / took / devices
    family = "mixture" if dims.experts else "dense"
    model = re.sub(r"[^a-z0-9]", "", name.lower().split("(")[0])
    pair = (model, system.name, text(row, "release"), str(devices))
    return Result(
        f"{family} {precision}",
        number(row, "Tokens / sec / GPU"),
        ours,
        f"{name} {system.name} {parallel.label}",
        pair,
        precision,
    )


def mlperf(table: list[dict[str, str]]) -> Iterator[Result | str]:
    """Of a plan the table tells its data parallelism, by accumulation and batch: the fastest such one that fits is taken."""
    for row in table:
        try:
            benchmark = text(row, "benchmark")
            if benchmark not in ("llama31_405b", "llama31_8b"):
                raise Skipped(f"{benchmark}: adapters on packed sequences")
            dims = replace(
                MODELS["llama31405b" if "405b" in benchmark else "llama38b"],
                tokens=integer(row, "seq_len", default=8192),
            )
            system = nvidia_system(text(row, "accelerator"))
            nodes, per_node = integer(row, "nodes"), integer(row, "acc_per_node")
            devices, batch = nodes * per_node, integer(row, "global_batch_size")
            steps = integer(row, "grad_acc", default=1)
            measured = number(row, "throughput_samples_per_s_median")
        except ODD as reason:
            yield str(reason) or type(reason).__name__
            continue
        recipe = RECIPES["nvfp4" if text(row, "round") >= "5.1" and "b" in system.name.split("_")[0][-4:] else "fp8"]
        found = rows(dims, recipe)
        tried = [
            item
            for item in enumerate_plans(found, devices, micro_batches=(1, 2), zero=(1,), sequence_parallel=True)
            if item.data * item.micro_batch * steps == batch
            and all(
                getattr(item, key) == integer(row, short, default=getattr(item, key)) for key, short in SHORT.items()
            )
        ]
        if not tried:
            yield "no plan has the row's accumulation"
            continue
        plans = plans_of(tried, steps)
        held = held_bytes(found, plans, system)
        took = step_times(found, plans, system, Communication(gradient=32.0)).step
        fitting = [float(t) for t, bytes_ in zip(took, held, strict=True) if bytes_ <= system.device.memory_bytes]
        if not fitting:
            yield "no plan fits the memory"
            continue
        best = tried[int(np.where(held <= system.device.memory_bytes, took, np.inf).argmin())]
        label = f"{benchmark} {system.name} {best.label} {devices}"
        yield Result(
            f"{benchmark} {system.name}", measured, batch / min(fitting), label, group=f"{benchmark} {system.name}"
        )


SHORT = {"tensor": "tp", "pipeline": "pp", "context": "cp"}


def scaling(found: list[Result]) -> dict[str, float]:
    """Speed-up from the smallest number of devices of a group to each other: ours against the measured one."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for item in found:
        groups[item.group].append(item)
    errors = []
    for items in groups.values():
        first = min(items, key=lambda item: int(item.label.split()[-1]))
        errors += [(i.ours / first.ours) / (i.measured / first.measured) - 1 for i in items if i is not first]
    return (
        {"scaling_worst": max(errors, key=abs), "scaling_median_abs": statistics.median(map(abs, errors))}
        if errors
        else {}
    )


# --- MaxText and tpu-recipes: TPU pods. Rows are {"row": {...}, "section": ...} or plain columns.


def ironwood(table: list[dict[str, str]]) -> Iterator[Result | str]:
    for row in table:
        try:
            yield tpu_row(row)
        except ODD as reason:
            yield str(reason) or type(reason).__name__


def tpu_row(row: dict[str, str]) -> Result:
    words = " ".join(str(value) for value in row.values()).lower()
    chip = (
        "ironwood"
        if "ironwood" in words or "tpu7x" in words or "v7x" in words
        else "tpu_v5p_pod"
        if "v5p" in words
        else ""
    )
    if not chip:
        raise Skipped("no system file for the chip")
    system = load_system(chip)
    name = text(row, "Model", "Model ID", "model_name", "Model size") or text(row, "section")
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    dims = next((MODELS[key] for key in sorted(MODELS, key=len, reverse=True) if key in plain), None)
    if dims is None:
        raise Skipped("no published dims for the model")
    dims = replace(
        dims, tokens=integer(row, "Sequence Length", "seq_len", "max_target_length", "Sequence", default=dims.tokens)
    )
    chips = integer(row, "Number of chips", "chips", "# chips", "devices", default=0)
    if not chips:
        found = re.search(r"v5p-(\d+)|(\d+)x(\d+)x(\d+)", words)
        if not found:
            raise Skipped("no number of chips")
        chips = (
            int(found.group(1)) // 2
            if found.group(1)
            else int(found.group(2)) * int(found.group(3)) * int(found.group(4))
        )
    precision = re.sub(r"[^a-z0-9]", "", (text(row, "Precision", "dtype") or "bf16").lower())
    recipe = RECIPES.get(precision, RECIPES["fp8"] if "fp8" in precision else "")
    batch = integer(row, "GBS", "Global batch size", "global_batch_size", default=0)
    per_chip = max(batch // chips, 1) if batch else integer(row, "per_device_batch_size", "PDBS", default=1)
    found_rows = rows(dims, recipe)
    parallel = Parallel(data=chips, micro_batch=per_chip, zero=3, recompute="full")
    took = step_s(found_rows, parallel, 1, system, Communication(weight=16.0))
    tokens = per_chip * dims.tokens / took
    measured = number(
        row,
        "Tokens/sec/device",
        "Tokens/sec/chip",
        "Tokens / sec / chip",
        "tokens_per_sec_per_device",
        "TPS/chip",
        default=0,
    )
    if not measured:
        tflops = number(row, "TFLOP/sec/chip", "TFLOPs/sec/chip", "TFLOP/chip/sec", "tflops_per_sec_per_device")
        measured = tflops * 1e12 / model_flops(found_rows, dims)
    return Result(f"{system.name} {precision}", measured, tokens, f"{name[-40:]} {chips}", (plain, chip), precision)


def model_flops(found: Rows, dims: Decoder) -> float:
    """Floating-point operations of forward and backward per token, dense attention counted whole."""
    return 6.0 * sum(row.layer.macs * row.times for row in found.rows if row.layer.has_macs) / dims.tokens


# --- COAT (arXiv 2410.19313): Hugging Face Llama under FSDP. Its norms keep an FP32 copy of their input and what they scale, SiLU
# and the product keep theirs; a GB of its table is 1.024e9 bytes (2 GPUs x 6.5 = 13.1 of 13.48e9 bytes).

COAT_GB = 1.024e9
COAT_STATES = {"bf16": 4.0, "te": 4.0, "coat": 1.0}


def coat(table: list[dict[str, str]]) -> Iterator[Result | str]:
    for row in table:
        try:
            name, method = text(row, "model"), text(row, "method").lower()
            dims = replace(model_dims(name), tokens=integer(row, "context"))
            devices, batch = integer(row, "gpus"), integer(row, "batch_per_gpu")
            if method not in COAT_STATES:
                raise Skipped(f"unknown method {method}")
        except ODD as reason:
            yield str(reason) or type(reason).__name__
            continue
        found = rows(dims, "" if method == "bf16" else RECIPES["fp8"])
        parameters = sum(item.times * item.layer.parameters for item in found.rows)
        states = 2.0 * parameters * COAT_STATES[method] / devices
        kept = coat_activations(found, dims, batch, method)
        if text(row, "optimizer_GB"):
            yield Result("optimizer", number(row, "optimizer_GB"), states / COAT_GB, f"{name} {devices} {method}")
        if text(row, "activation_GB"):
            yield Result("activation", number(row, "activation_GB"), kept / COAT_GB, f"{name} {devices} {method}")
        if text(row, "peak_GB"):
            block = sum(item.times * item.layer.parameters for item in found.of("block")) / dims.layers
            peak = states + kept + 8.0 * parameters / devices + 2.0 * GATHERED_BLOCKS * block
            yield Result("peak", number(row, "peak_GB"), peak / COAT_GB, f"{name} {devices} {method}")


#: Bytes per element that Hugging Face's RMSNorm keeps beyond the 16-bit input: an FP32 copy instead, and what is scaled.
UNFUSED_NORM_BYTES = 4.0
#: Bytes per logit: 16-bit logits, their FP32 copy, that of the shifted tokens, and the log-softmax.
LOGIT_BYTES = 14.0
#: COAT keeps every tensor but attention's in FP8 with a 16-bit scale for 16 elements (section 4.2 of the paper).
COAT_BYTES = 1.0 + 2.0 / 16.0


def coat_activations(found: Rows, dims: Decoder, batch: int, method: str) -> float:
    """Bytes of activations that a device keeps."""
    bytes_ = LOGIT_BYTES * dims.tokens * dims.vocabulary
    for row in found.of("block"):
        attention = row.layer.kind == "matmul"
        norm = row.layer.kind == "layernorm"
        for item in row.stash:
            if item.inner:
                continue
            narrow = method == "coat" and not attention and row.layer.kind != "fc"
            bytes_ += row.times * item.bits / 8.0 * (COAT_BYTES / 2.0 if narrow else 1.0)
        if norm and method != "coat":
            bytes_ += row.times * UNFUSED_NORM_BYTES * row.layer.output_elements
        # What attention wrote stays in 16 bits beside the narrow input of the projection behind it.
        if method != "bf16" and row.layer.kind == "matmul" and row.layer.name.endswith("context"):
            bytes_ += row.times * 2.0 * row.layer.output_elements
    return bytes_ * batch


KINDS: dict[str, Callable[[list[dict[str, str]]], Iterator[Result | str]]] = {
    "vtrain": vtrain, "megatron_memory": megatron_memory, "bridge": bridge, "mlperf": mlperf, "mpt": mpt, "ironwood": ironwood,
    "korthikanti": korthikanti, "coat": coat,
}  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV, or of JSON lines with their columns under ``row``."""
    content = path.read_text()
    if content.lstrip().startswith("{"):
        lines = [json.loads(line) for line in content.splitlines() if line.strip()]
        return [{**{k: str(v) for k, v in item.items() if k != "row"}, **item.get("row", {})} for item in lines]
    return list(csv.DictReader(content.splitlines()))


def ratios(found: list[Result]) -> list[float]:
    """Errors of the ratios between formats of one model on one system: median speeds of each against BF16, or against FP8."""
    cells: dict[tuple[str, ...], dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for item in found:
        if item.pair:
            cells[item.pair][item.format].append(item)
    errors = []
    for formats in cells.values():
        order = [name for name in RECIPES if name in formats]
        for other in order[1:]:
            ours, measured = (
                statistics.median(getattr(item, side) for item in formats[other])
                / statistics.median(getattr(item, side) for item in formats[order[0]])
                for side in ("ours", "measured")
            )
            errors.append(ours / measured - 1.0)
    return errors


def summary(kind: str, table: list[dict[str, str]], shown: int = 0) -> dict[str, object]:
    """Errors of a kind, and the largest ones printed."""
    made = list(KINDS[kind](table))
    found = [item for item in made if isinstance(item, Result)]
    skipped = Counter(item for item in made if isinstance(item, str))
    for item in sorted(found, key=lambda item: -abs(item.error))[:shown]:
        print(f"{item.error:+7.1%}  measured {item.measured:12.5g}  ours {item.ours:12.5g}  {item.by:24} {item.label}")
    for reason, count in skipped.most_common():
        print(f"skipped {count}: {reason}")
    result = {
        "kind": kind,
        "rows": len(found),
        "skipped": sum(skipped.values()),
        **errors([item.error for item in found]),
    }
    groups: dict[str, list[float]] = defaultdict(list)
    for item in found:
        groups[item.by].append(item.error)
    result["by"] = {name: {"rows": len(values), **errors(values)} for name, values in sorted(groups.items())}
    between = ratios(found)
    if between:
        result |= {"ratios": len(between), "ratio_median_abs": statistics.median(map(abs, between))}
    if kind == "vtrain":
        result |= best_of_sets(found)
    if kind == "mlperf":
        result |= scaling(found)
    return result


def errors(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        "median_abs": statistics.median(map(abs, values)), "mean_abs": statistics.fmean(map(abs, values)),
        "worst": max(values, key=abs), "bias": statistics.median(values),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--kind", choices=sorted(KINDS), required=True)
    parser.add_argument("--show", type=int, default=10, help="rows with the largest errors that are printed")
    given = parser.parse_args()
    print(json.dumps(summary(given.kind, read(given.file), given.show)))


if __name__ == "__main__":
    main()
