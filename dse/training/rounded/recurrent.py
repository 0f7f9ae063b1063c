"""LSTM, GRU and plain recurrent networks step by step, with rounded products: what ``torch.nn.LSTM`` computes in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from dse.training.rounded.products import Lookup, linear

#: Hidden state, and for an LSTM the cell state.
State: TypeAlias = tuple[Tensor, ...]
#: The next state from the products of the input and of the hidden state.
Cell: TypeAlias = Callable[[Tensor, Tensor, State], State]


def lstm_cell(inputs: Tensor, hidden: Tensor, state: State) -> State:
    """Gates in torch's order: input, forget, cell, output."""
    i, f, g, o = (inputs + hidden).chunk(4, dim=-1)
    cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def gru_cell(inputs: Tensor, hidden: Tensor, state: State) -> State:
    """Gates in torch's order: reset, update, new."""
    (r, z, n), (hr, hz, hn) = inputs.chunk(3, dim=-1), hidden.chunk(3, dim=-1)
    new, update = torch.tanh(n + torch.sigmoid(r + hr) * hn), torch.sigmoid(z + hz)
    return ((1.0 - update) * new + update * state[0],)


def tanh_cell(inputs: Tensor, hidden: Tensor, _state: State) -> State:
    """A plain recurrent step."""
    return (torch.tanh(inputs + hidden),)


def relu_cell(inputs: Tensor, hidden: Tensor, _state: State) -> State:
    """A plain recurrent step with ReLU."""
    return (torch.relu(inputs + hidden),)


CELLS: dict[str, Cell] = {"lstm": lstm_cell, "gru": gru_cell, "rnn_tanh": tanh_cell, "rnn_relu": relu_cell}


def recurrent(
    lookup: Lookup,
    cell: Cell,
    x: Tensor,
    start: State,
    weights: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """As ``torch.lstm``, ``torch.gru`` and so on on padded sequences: output, and the last states of all layers and directions.

    The products of the inputs of all steps are one product, those of the hidden state one per step.
    """
    if batch_first:
        x = x.transpose(0, 1)
    directions = 2 if bidirectional else 1
    each = len(weights) // (num_layers * directions)
    ends: list[State] = []
    for layer in range(num_layers):
        outputs = []
        for side in range(directions):
            index = layer * directions + side
            own = weights[index * each : (index + 1) * each]
            state = tuple(part[index] for part in start)
            output, end = _direction(lookup, cell, x, state, own, has_biases, backwards=side == 1)
            outputs.append(output)
            ends.append(end)
        x = torch.cat(outputs, dim=-1)
        if layer < num_layers - 1:
            x = functional.dropout(x, dropout, train)
    last = tuple(torch.stack([end[part] for end in ends]) for part in range(len(start)))
    return (x.transpose(0, 1) if batch_first else x, *last)


def step(lookup: Lookup, cell: Cell, x: Tensor, state: State, weights: Sequence[Tensor | None]) -> State:
    """As ``torch.lstm_cell`` and so on."""
    w_ih, w_hh, b_ih, b_hh = (*weights, None, None)[:4]
    assert w_ih is not None
    assert w_hh is not None
    return cell(linear(lookup, x, w_ih, b_ih), linear(lookup, state[0], w_hh, b_hh), state)


def _direction(
    lookup: Lookup, cell: Cell, x: Tensor, state: State, weights: Sequence[Tensor], has_biases: bool, backwards: bool
) -> tuple[Tensor, State]:
    w_ih, w_hh, *rest = weights
    b_ih, b_hh = rest[:2] if has_biases else (None, None)
    projection = rest[2 * has_biases :]
    inputs = linear(lookup, x, w_ih, b_ih)
    found: list[Tensor] = []
    for at in reversed(range(len(x))) if backwards else range(len(x)):
        state = cell(inputs[at], linear(lookup, state[0], w_hh, b_hh), state)
        if projection:
            state = (linear(lookup, state[0], projection[0]), *state[1:])
        found.append(state[0])
    return torch.stack(found[::-1] if backwards else found), state
