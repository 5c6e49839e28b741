"""Recurrent layers as they are trained on a CPU: the time steps of a tanh RNN, GRU or LSTM, with gradients by hand.

PyTorch's own loops record every small operation of every step (RNN, GRU), or hand the whole layer to oneDNN (LSTM).
Here the input's share of all steps is one matrix product before the loop, the gradient of each weight is one product
after it, and a step is one product and a dozen operations in place, on what the cache still holds. Under bfloat16
autocast the products are bfloat16; gates, cell state and the gradient that flows back in time stay float32.
Knows nothing about models, dropout or states.

Shapes: B rows, T time steps, E input size, C hidden size, G gates (1, 3 or 4). Time comes first: a step is contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # (d, y): d * y * (1 - y)
tanh_backward = torch.ops.aten.tanh_backward.grad_input  # (d, y): d * (1 - y^2)


FASTER_FROM = {"rnn": (256, 512), "gru": (1, 512), "lstm": (480, math.inf)}
"""The hidden size from which `train_layer` outruns PyTorch's own loop on one core, under autocast and in float32.

Measured forward and backward with 8 to 64 rows of 20 to 70 steps. Under bfloat16 autocast, LSTM: 0.8x oneDNN's at 256,
0.95x at 416, 1.0x at 448, 1.2 to 2.5x from 480 on; GRU: 1.1 to 1.4x; RNN: 1.0x at 200, 1.05 to 1.3x from 256 on. In
float32, LSTM: 0.65 to 0.95x; GRU and RNN: 0.6 to 1.05x up to 256, 1.05 to 1.3x from 512 on.
"""
LSTM_THREADED = 640
"""The same for an LSTM under autocast with several threads, which oneDNN shares out better: 0.85x at 512, 1.04x at 640,
1.27x at 768 with two."""


def faster(kind: str, hidden_size: int, device: torch.device) -> bool:
    """Whether to train a layer here by `train_layer`."""
    autocast, full = FASTER_FROM[kind]
    if kind == "lstm" and torch.get_num_threads() > 1:
        autocast = LSTM_THREADED
    return device.type == "cpu" and hidden_size >= (autocast if torch.is_autocast_enabled("cpu") else full)


def train_layer(
    kind: str, x: Tensor, memory: tuple[Tensor, ...], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over all steps: x (B, T, E) and memory (h,) or (h, c), each (B, C) -> (B, T, C) and the memory after.

    Weights are laid out as in torch.nn: (GC, E), (GC, C), (GC,), (GC,).
    """
    x = x.transpose(0, 1)  # (T, B, E); of the layer below it is as contiguous as it was
    if kind == "gru":  # the reset gate scales what the hidden state adds to the candidate, its bias included
        y, h = GRU.apply(F.linear(x, w_ih, b_ih), w_hh, b_hh, *memory)
        return y.transpose(0, 1), (h,)
    gates = F.linear(x, w_ih, b_ih + b_hh)
    if kind == "rnn":
        y = RNN.apply(gates, w_hh, *memory)
        return y.transpose(0, 1), (y[-1],)
    y, c = LSTM.apply(gates, w_hh, *memory)
    return y.transpose(0, 1), (y[-1], c)


def tanh_(x: Tensor) -> Tensor:
    """tanh x = 2 sigmoid(2x) - 1, in place: PyTorch takes 2.6 ns an element for a tanh, 0.4 for a sigmoid."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def forwards(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The time steps of all tensors (T, ...) side by side; one `unbind` costs less than T times an index."""
    return zip(*(tensor.unbind(0) for tensor in tensors), strict=True)


def backwards(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same from the last step to the first."""
    return reversed(list(forwards(*tensors)))


def wide(dtype: torch.dtype) -> torch.dtype:
    """What the small operations of a step compute in."""
    return torch.promote_types(dtype, torch.float32)


def products(w: Tensor, rows: int) -> Callable[..., Tensor]:
    """(x (rows, K), bias=None) -> x @ w.t() + bias, for many x: oneDNN rearranges the weight once, not at each product.

    1.05 to 1.3 times as fast as `torch.mm` for 20 to 64 rows. What oneDNN lacks, float64 say, is `F.linear` itself.
    """
    onednn = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not (
        w.dtype == torch.float32 or (w.dtype == torch.bfloat16 and onednn._is_mkldnn_bf16_supported())
    ):
        return lambda x, bias=None: F.linear(x, w, bias)
    packed = onednn._reorder_linear_weight(w.contiguous(), rows)
    linear = onednn._linear_pointwise.default  # what torch.compile makes of F.linear
    return lambda x, bias=None: linear(x, packed, bias, "none", [], "")


def weight_gradient(d: Tensor, h: Tensor, w: Tensor) -> Tensor:
    """(T, B, GC) and the hidden states before each step (T, B, C) -> (GC, C), in the weight's dtype: one product."""
    return (d.flatten(0, 1).t() @ h.flatten(0, 1)).to(w.dtype)


class RNN(Function):
    """h = tanh(x + W h) (Elman 1990)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, h: Tensor) -> Tensor:
        """(T, B, C), (C, C), (B, C) -> (T, B, C)"""
        T, B, C = x.shape
        hs = x.new_empty(T + 1, B, C)  # before each step, and after the last
        hs[0] = h
        ys = torch.empty_like(x, dtype=wide(x.dtype), memory_format=torch.contiguous_format)
        through_w = products(w.to(x.dtype), B)
        for step, before, after, y in forwards(x, hs[:-1], hs[1:], ys):
            tanh_(y.copy_(step).add_(through_w(before)))
            after.copy_(y)
        ctx.save_for_backward(w, hs, ys)
        ctx.h_dtype = h.dtype
        return hs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        w, hs, ys = ctx.saved_tensors
        T, B, C = ys.shape
        d = hs.new_empty(T, B, C)
        back_through_w, wider = products(w.to(hs.dtype).t(), B), ys.new_empty(B, C)
        dh = torch.zeros_like(wider)
        for grad, y, step in backwards(dy, ys, d):
            step.copy_(tanh_backward(dh.add_(grad), y, grad_input=wider))
            dh.copy_(back_through_w(step))
        return d, weight_gradient(d, hs[:-1], w), dh.to(ctx.h_dtype)


class GRU(Function):
    """r, z = sigmoid(x + W h + b), n = tanh(x + r (W h + b)), h = n + z (h - n) (Cho et al. 2014, as in torch.nn)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """(T, B, 3C), (3C, C), (3C,), (B, C) -> (T, B, C), (B, C)"""
        T, B, C = x.size(0), *h.shape
        hs = x.new_empty(T + 1, B, C)  # before each step, and after the last; what the products read
        hs[0] = h
        gates = torch.empty_like(x, dtype=wide(x.dtype), memory_format=torch.contiguous_format)
        news, gaps = gates.new_empty(2, T, B, C)  # the hidden state's share of n; h - n
        through_w, bias = products(w.to(x.dtype), B), b.to(x.dtype)
        state = h.to(gates.dtype, copy=True)
        r_and_z = gates[:, :, : 2 * C]
        for step, before, after, gate, both, r, z, n, new, gap in forwards(
            x, hs[:-1], hs[1:], gates, r_and_z, *gates.chunk(3, dim=2), news, gaps
        ):
            product = through_w(before, bias)
            gate.copy_(step)
            both.add_(product[:, : 2 * C]).sigmoid_()
            tanh_(n.addcmul_(r, new.copy_(product[:, 2 * C :])))
            torch.addcmul(n, z, torch.sub(state, n, out=gap), out=state)
            after.copy_(state)
        ctx.save_for_backward(w, hs, gates, news, gaps)
        ctx.b_dtype, ctx.h_dtype = b.dtype, h.dtype
        return hs[1:], state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dh: Tensor) -> tuple[Tensor, ...]:
        w, hs, gates, news, gaps = ctx.saved_tensors
        T, B, C = gaps.shape
        dx, d = hs.new_empty(2, T, B, 3 * C)  # by the input's share, and by the hidden state's
        back_through_w, flat = products(w.to(hs.dtype).t(), B), gates.new_empty(B, 3 * C)
        dr, dz, dn = flat.chunk(3, dim=1)
        other, kept = gaps.new_empty(2, B, C)
        dh = dh.clone()
        for grad, r, z, n, new, gap, by_x, by_h in backwards(dy, *gates.chunk(3, dim=2), news, gaps, dx, d):
            dh.add_(grad)
            torch.mul(dh, z, out=kept)
            sigmoid_backward(torch.mul(dh, gap, out=other), z, grad_input=dz)
            tanh_backward(torch.sub(dh, kept, out=other), n, grad_input=dn)
            sigmoid_backward(torch.mul(dn, new, out=other), r, grad_input=dr)
            by_x.copy_(flat)
            dn.mul_(r)
            by_h.copy_(flat)
            torch.add(kept, back_through_w(by_h), out=dh)
        return dx, weight_gradient(d, hs[:-1], w), d.sum((0, 1)).to(ctx.b_dtype), dh.to(ctx.h_dtype)


class LSTM(Function):
    """i, f, g, o = sigmoid, sigmoid, tanh, sigmoid (x + W h), c = f c + i g, h = o tanh c (Gers et al. 2000)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """(T, B, 4C), (4C, C), (B, C), (B, C) -> (T, B, C), (B, C)"""
        T, B, C = x.size(0), *h.shape
        hs = x.new_empty(T + 1, B, C)  # before each step, and after the last
        hs[0] = h
        gates = torch.empty_like(x, dtype=wide(x.dtype), memory_format=torch.contiguous_format)
        cells = gates.new_empty(T + 1, B, C)
        cells[0] = c
        squashed = gates.new_empty(T, B, C)  # tanh c
        through_w = products(w.to(x.dtype), B)
        for step, before, after, gate, i, f, g, o, cell, next_cell, squash in forwards(
            x, hs[:-1], hs[1:], gates, *gates.chunk(4, dim=2), cells[:-1], cells[1:], squashed
        ):
            gate.copy_(step).add_(through_w(before))
            g.mul_(2)  # one sigmoid for all four; g becomes a tanh as in `tanh_`
            gate.sigmoid_()
            g.mul_(2).sub_(1)
            torch.mul(f, cell, out=next_cell).addcmul_(i, g)
            after.copy_(tanh_(squash.copy_(next_cell)) * o)
        ctx.save_for_backward(w, hs, gates, cells, squashed)
        ctx.h_dtype, ctx.c_dtype = h.dtype, c.dtype
        return hs[1:], cells[T].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dc: Tensor) -> tuple[Tensor, ...]:
        w, hs, gates, cells, squashed = ctx.saved_tensors
        T, B, C = squashed.shape
        d = hs.new_empty(T, B, 4 * C)
        back_through_w = products(w.to(hs.dtype).t(), B)
        flat, other = gates.new_empty(B, 4 * C), gates.new_empty(B, C)
        di, df, dg, do = flat.chunk(4, dim=1)
        dh, dc = torch.zeros_like(dc), dc.clone()
        into_cell, all_dc = flat.view(B, 4, C)[:, :3], dc.unsqueeze(1)
        for grad, i, f, g, o, cell, squash, step in backwards(dy, *gates.chunk(4, dim=2), cells[:-1], squashed, d):
            dh.add_(grad)
            dc.addcmul_(dh, tanh_backward(o, squash, grad_input=other))
            sigmoid_backward(g, i, grad_input=di)
            sigmoid_backward(cell, f, grad_input=df)
            tanh_backward(i, g, grad_input=dg)
            sigmoid_backward(squash, o, grad_input=do)
            into_cell.mul_(all_dc)
            do.mul_(dh)
            step.copy_(flat)
            dc.mul_(f)
            dh.copy_(back_through_w(step))
        return d, weight_gradient(d, hs[:-1], w), dh.to(ctx.h_dtype), dc.to(ctx.c_dtype)
