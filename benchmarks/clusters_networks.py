"""Networks of the measured runs, as workload text from their dims."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from dse.workload import Network
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml


@dataclass(frozen=True)
class Decoder:
    """Dims of a language model of repeated blocks; 0 means as the field's default says.

    Attributes
    ----------
    ffn
        Features inside the MLP; 0: four times the hidden size.
    kv_heads
        0: as many as heads.
    gated
        SwiGLU instead of GELU.
    tied
        The classifier reads the embedding's table.
    positions
        A table of learned positions.
    experts, active, moe_ffn, shared_ffn
        A mixture in every block behind the first ``dense`` ones; features of an expert, of the experts that all tokens take.
    query_rank, key_rank, value_dim
        Of latent attention.
    """

    hidden: int
    layers: int
    heads: int
    tokens: int
    vocabulary: int = 50304
    ffn: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    gated: bool = False
    rms: bool = False
    bias: bool = False
    tied: bool = False
    positions: bool = False
    rope: bool = False
    causal: bool = True
    experts: int = 0
    active: int = 1
    moe_ffn: int = 0
    shared_ffn: int = 0
    dense: int = 0
    query_rank: int = 0
    key_rank: int = 0
    value_dim: int = 0


def _mlp(name: str, ffn: int, hidden: int, gated: bool, bias: bool, indent: str) -> str:
    more = ", bias: true" if bias else ""
    if gated:
        return (
            f"{indent}- op: product\n{indent}  name: {name}.multiply\n"
            f"{indent}  main: [{{op: linear, name: {name}.gate, K: {ffn}, then: [silu]}}]\n"
            f"{indent}  shortcut: [{{op: linear, name: {name}.up, K: {ffn}}}]\n"
            f"{indent}- {{op: linear, name: {name}.down, K: {hidden}{more}}}\n"
        )
    return (
        f"{indent}- {{op: linear, name: {name}.fc, K: {ffn}{more}, then: [gelu]}}\n"
        f"{indent}- {{op: linear, name: {name}.proj, K: {hidden}{more}}}\n"
    )


def _block(dims: Decoder, name: str, experts: bool) -> str:
    norm = "rmsnorm" if dims.rms else "layernorm"
    ffn = dims.ffn or 4 * dims.hidden
    more = f", kv_heads: {dims.kv_heads}" if dims.kv_heads else ""
    more += f", head_dim: {dims.head_dim}" if dims.head_dim else ""
    more += f", query_rank: {dims.query_rank}, key_rank: {dims.key_rank}" if dims.key_rank else ""
    more += f", value_dim: {dims.value_dim}" if dims.value_dim else ""
    more += ", rope: true" if dims.rope else ""
    more += ", causal: true" if dims.causal else ""
    more += ", bias: true" if dims.bias else ""
    text = (
        f"  {name}:\n    layers:\n      - op: residual\n        name: add_1\n        main:\n"
        f"          - {{op: {norm}, name: norm_1}}\n"
        f"          - {{op: attention, name: attn, heads: {dims.heads}{more}}}\n"
        f"      - op: residual\n        name: add_2\n        main:\n          - {{op: {norm}, name: norm_2}}\n"
    )
    if not experts:
        return text + _mlp("mlp", ffn, dims.hidden, dims.gated, dims.bias, " " * 10)
    moe = f"- op: moe\n  name: moe\n  experts: {dims.experts}\n  active: {dims.active}\n  main:\n" + _mlp(
        "experts", dims.moe_ffn or ffn, dims.hidden, dims.gated, False, "    "
    )
    if not dims.shared_ffn:
        return text + "".join(f"{' ' * 10}{line}\n" for line in moe.splitlines())
    shared = _mlp("shared", dims.shared_ffn, dims.hidden, dims.gated, False, "    ")
    both = "- op: residual\n  name: both\n  main:\n" + "".join(f"    {line}\n" for line in moe.splitlines())
    both += "  shortcut:\n" + shared
    return text + "".join(f"{' ' * 10}{line}\n" for line in both.splitlines())


def network_text(dims: Decoder, batch: int = 1) -> str:
    """The network as a workload file."""
    norm = "rmsnorm" if dims.rms else "layernorm"
    text = (
        f"source: dims of a measured run\nbatch: {batch}\nsamples: 1000000\nepochs: 1\noptimizer: adam\n"
        f"input: {{tokens: {dims.tokens}}}\nblocks:\n"
    )
    dense = dims.dense if dims.experts else dims.layers
    text += _block(dims, "dense", False) if dense else ""
    text += _block(dims, "mixture", True) if dims.experts else ""
    text += "layers:\n"
    table = f"{{op: embedding, name: wte, rows: {dims.vocabulary}, K: {dims.hidden}}}"
    if dims.positions:
        text += (
            f"  - op: residual\n    name: add\n    main: [{table}]\n"
            f"    shortcut: [{{op: embedding, name: wpe, rows: {dims.tokens}, K: {dims.hidden}}}]\n"
        )
    else:
        text += f"  - {table}\n"
    if dense:
        text += f"  - {{op: block, of: dense, name: 'h.{{i}}', count: {dense}}}\n"
    if dims.experts:
        text += f"  - {{op: block, of: mixture, name: 'm.{{i}}', count: {dims.layers - dense}}}\n"
    shared = ", shared: true" if dims.tied else ""
    return text + (
        f"  - {{op: {norm}, name: norm}}\n  - {{op: linear, name: lm_head, K: {dims.vocabulary}{shared}}}\n"
        "  - {op: loss, name: loss}\n"
    )


@lru_cache(maxsize=512)
def network(dims: Decoder) -> Network:
    """The network of the dims; one sample per pass, micro batches are the parallel plan's."""
    return network_from_document(parse_yaml(network_text(dims), "dims"), "decoder")


def _llama(
    hidden: int, layers: int, heads: int, ffn: int, vocabulary: int, kv_heads: int = 0, tokens: int = 8192
) -> Decoder:
    return Decoder(hidden, layers, heads, tokens, vocabulary, ffn, kv_heads, gated=True, rms=True, rope=True)


def _mixture(base: Decoder, experts: int, active: int, moe_ffn: int, head_dim: int = 0) -> Decoder:
    return replace(base, experts=experts, active=active, moe_ffn=moe_ffn, head_dim=head_dim)


#: Published dims, by the tables' names in lower case without punctuation: model cards and config.json of the models.
MODELS = {
    "llama27b": _llama(4096, 32, 32, 11008, 32000, tokens=4096),
    "llama213b": _llama(5120, 40, 40, 13824, 32000, tokens=4096),
    "llama30b": _llama(6656, 60, 52, 17920, 32000, tokens=2048),
    "llama270b": _llama(8192, 80, 64, 28672, 32000, 8, 4096),
    "llama38b": _llama(4096, 32, 32, 14336, 128256, 8),
    "llama318b": _llama(4096, 32, 32, 14336, 128256, 8),
    "llama370b": _llama(8192, 80, 64, 28672, 128256, 8),
    "llama3170b": _llama(8192, 80, 64, 28672, 128256, 8),
    "llama31405b": _llama(16384, 126, 128, 53248, 128256, 8),
    "qwen330ba3b": _mixture(_llama(2048, 48, 32, 6144, 151936, 4, 4096), 128, 8, 768, 128),
    "qwen3235ba22b": _mixture(_llama(4096, 94, 64, 12288, 151936, 4, 4096), 128, 8, 1536, 128),
    "gptoss120b": _mixture(_llama(2880, 36, 64, 2880, 201088, 8, 4096), 128, 4, 2880, 64),
    "mixtral8x7b": _mixture(_llama(4096, 32, 32, 14336, 32000, 8, 4096), 8, 2, 14336, 128),
    "mixtral8x22b": _mixture(_llama(6144, 56, 48, 16384, 32768, 8, 4096), 8, 2, 16384, 128),
    "deepseekv3": replace(
        _mixture(_llama(7168, 61, 128, 18432, 129280, 0, 4096), 256, 8, 2048, 192),
        dense=3, shared_ffn=2048, query_rank=1536, key_rank=512, value_dim=128,
    ),
}  # fmt: skip
#: Hidden size, blocks, heads of MosaicML's MPT (llm-foundry, scripts/train/yamls/pretrain).
MPT = {
    "125m": (768, 12, 12), "350m": (1024, 24, 16), "760m": (1536, 24, 12), "1b": (2048, 24, 16), "3b": (2560, 32, 20),
    "7b": (4096, 32, 32), "13b": (5120, 40, 40), "30b": (7168, 48, 56), "70b": (8192, 80, 64),
}  # fmt: skip
