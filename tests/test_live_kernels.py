"""The kernels of the page's engine, run here by wasmtime and held to torch; and the file that ships them."""

import base64
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tools.browser import missing
from tools.kernels import assemble, module_text
from tools.kernels.__main__ import KERNELS, script

try:
    import wasmtime
except ImportError:
    wasmtime = None

MEGABYTES = 8
PLAIN, RELAXED = False, True


@pytest.fixture(autouse=True)
def assembler() -> None:
    """The assembler is a part of the extra `test`."""
    if wasmtime is None:
        missing("wasmtime is not installed, the page's kernels are NOT tested")


class Kernels:
    """A module with its memory; arrays are laid one behind the other."""

    def __init__(self, fused: bool) -> None:
        config = wasmtime.Config()
        config.wasm_relaxed_simd = True
        store = wasmtime.Store(wasmtime.Engine(config))
        module = wasmtime.Module(store.engine, assemble(module_text(fused)))
        self.memory = wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(16 * MEGABYTES, None)))
        exports = wasmtime.Instance(store, module, [self.memory]).exports(store)
        self.store, self.exports, self.top = store, exports, exports["heap"].value(store)

    def __getattr__(self, name: str) -> Callable:
        return lambda *arguments: self.exports[name](self.store, *arguments)

    def put(self, values: torch.Tensor | np.ndarray) -> int:
        """Lay numbers into memory; returns their address. Sixteen stray numbers follow them."""
        bytes_ = np.concatenate([np.ravel(values).astype("<f4"), np.full(16, np.nan, "<f4")]).tobytes()
        at, self.top = self.top, self.top + -(-len(bytes_) // 64) * 64
        self.memory.write(self.store, bytes_, at)
        return at

    def read(self, at: int, *shape: int) -> np.ndarray:
        """Numbers from memory."""
        size = int(np.prod(shape))
        return np.frombuffer(self.memory.read(self.store, at, at + 4 * size), "<f4").reshape(shape)


@pytest.fixture(params=[PLAIN, RELAXED], ids=["plain", "relaxed"])
def kernels(request) -> Kernels:
    """Both modules."""
    return Kernels(request.param)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 10 * len(shape)))


def test_shipped_bytes_are_those_of_the_text():
    assert KERNELS.read_text("utf-8") == script(), "write them anew: python -m tools.kernels"


def test_shipped_modules_hold_no_names_and_are_small():
    for code in re.findall(r'"([\w+/=]{100,})"', KERNELS.read_text("utf-8")):
        module = base64.b64decode(code)
        assert module[:8] == b"\0asm\1\0\0\0" and len(module) < 8500 and b"pack" not in module


@pytest.mark.parametrize("rows", [4, 8])
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (4, 8, 3), (5, 9, 7), (17, 13, 33), (64, 64, 64), (3, 300, 270), (30, 6, 515)]
)
def test_products(kernels, rows, sizes):
    """Every way to read A and B, with and without adding and bias; nothing is written outside of C."""
    m, n, k = sizes
    kernels.exports["rows"].set_value(kernels.store, rows)
    a, b, before, bias = numbers(m, k), numbers(k, n, seed=1), numbers(m, n + 3, seed=2), numbers(n, seed=3)
    for turned_a in (False, True):
        for turned_b in (False, True):
            for add in (0, 1):
                at_a, at_b = kernels.put(a.T if turned_a else a), kernels.put(b.T if turned_b else b)
                at_c, at_bias = kernels.put(before), kernels.put(bias) if add else 0
                strides_a, strides_b = (1, m) if turned_a else (k, 1), (1, k) if turned_b else (n, 1)
                kernels.gemm(m, n, k, at_a, *strides_a, at_b, *strides_b, at_c, n + 3, add, at_bias)
                wanted = before.clone()
                wanted[:, :n] = a @ b + (bias + before[:, :n] if add else 0)
                np.testing.assert_allclose(kernels.read(at_c, m, n + 3), wanted, atol=2e-5, rtol=2e-5)
                kernels.top = kernels.exports["heap"].value(kernels.store)


def test_gelu_and_its_slope(kernels):
    x = torch.linspace(-9, 9, 1000).requires_grad_()
    wanted = torch.nn.functional.gelu(x)
    wanted.sum().backward()
    at, out, slope = kernels.put(x.detach()), kernels.put(np.zeros(1000)), kernels.put(np.zeros(1000))
    kernels.gelu(1000, at, out, slope)
    np.testing.assert_allclose(kernels.read(out, 1000), wanted.detach(), atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(kernels.read(slope, 1000), x.grad, atol=1e-6)


@pytest.mark.parametrize("cols", [1, 4, 5, 66])
def test_softmax_and_its_way_back(kernels, cols):
    ld = -(-cols // 4) * 4
    scores, dy = (20 * numbers(3, cols)).requires_grad_(), numbers(3, cols, seed=1)
    wanted = (0.3 * scores).softmax(-1)
    wanted.backward(dy)
    room = np.full((2, 3, ld), np.nan)
    room[0, :, :cols], room[1, :, :cols] = scores.detach(), dy
    at, back = kernels.put(room[0]), kernels.put(room[1])
    kernels.softmax(3, cols, at, ld, 0.3)
    np.testing.assert_allclose(kernels.read(at, 3, ld)[:, :cols], wanted.detach(), atol=1e-6)
    kernels.softmax_grad(3, cols, at, back, ld, 0.3)
    np.testing.assert_allclose(kernels.read(back, 3, ld)[:, :cols], scores.grad, atol=1e-6)


@pytest.mark.parametrize(("tq", "t"), [(17, 17), (3, 10), (1, 65)])
def test_attention_and_its_way_back(kernels, tq, t):
    heads, size = 3, 8
    d, ld = heads * size, -(-t // 4) * 4
    q = numbers(tq, d).requires_grad_()
    kv = numbers(t, 2 * d, seed=1).requires_grad_()
    parts = [x.unflatten(-1, (heads, size)).transpose(0, 1) for x in (q, kv[:, :d], kv[:, d:])]
    wanted = torch.nn.functional.scaled_dot_product_attention(*parts).transpose(0, 1).flatten(1)
    dy = numbers(tq, d, seed=2)
    wanted.backward(dy)
    at_q, at_kv, at_y = kernels.put(q.detach()), kernels.put(kv.detach()), kernels.put(np.zeros((tq, d)))
    at_p, room = kernels.put(np.zeros(heads * tq * ld)), kernels.put(np.zeros(tq * ld))
    scale = size**-0.5
    kernels.attend(
        tq, t, heads, size, at_q, d, at_kv, at_kv + 4 * d, 2 * d, at_y, d, at_p, ld, 4 * tq * ld, scale
    )
    np.testing.assert_allclose(kernels.read(at_y, tq, d), wanted.detach(), atol=2e-6)
    dq, dkv, at_dy = kernels.put(np.zeros((tq, d))), kernels.put(np.zeros((t, 2 * d))), kernels.put(dy)
    kernels.attend_grad(
        tq, t, heads, size, at_q, d, at_kv, at_kv + 4 * d, 2 * d,
        dq, dkv, dkv + 4 * d, at_dy, d, at_p, ld, 4 * tq * ld, room, scale,
    )  # fmt: skip
    np.testing.assert_allclose(kernels.read(dq, tq, d), q.grad, atol=3e-6)
    np.testing.assert_allclose(kernels.read(dkv, t, 2 * d), kv.grad, atol=3e-6)


def test_layer_norm_and_its_way_back(kernels):
    x, gain, bias = numbers(5, 12).requires_grad_(), numbers(12, seed=1), numbers(12, seed=2)
    gain, bias = gain.requires_grad_(), bias.requires_grad_()
    wanted = torch.nn.functional.layer_norm(x, (12,), gain, bias, eps=1e-6)
    dy, before = numbers(5, 12, seed=3), numbers(5, 12, seed=4)
    wanted.backward(dy)
    at_x, at_gain, at_bias = (kernels.put(one.detach()) for one in (x, gain, bias))
    out, unit, scales = kernels.put(np.zeros(60)), kernels.put(np.zeros(60)), kernels.put(np.zeros(5))
    kernels.norm(5, 12, at_x, at_gain, at_bias, out, unit, scales, 1e-6)
    np.testing.assert_allclose(kernels.read(out, 5, 12), wanted.detach(), atol=2e-6)
    dx, dgain, dbias = kernels.put(before), kernels.put(np.zeros(12)), kernels.put(np.zeros(12))
    kernels.norm_grad(5, 12, unit, scales, at_gain, kernels.put(dy), dx, 1, dgain, dbias)
    np.testing.assert_allclose(kernels.read(dx, 5, 12), x.grad + before, atol=3e-6)
    np.testing.assert_allclose(kernels.read(dgain, 12), gain.grad, atol=3e-6)
    np.testing.assert_allclose(kernels.read(dbias, 12), bias.grad, atol=3e-6)
    sums = kernels.put(np.ones(12))
    kernels.column_sums(5, 12, at_x, sums)
    np.testing.assert_allclose(kernels.read(sums, 12), 1 + x.detach().sum(0), atol=3e-6)


def test_what_is_done_number_by_number(kernels):
    x, y = numbers(100), numbers(100, seed=1)
    at_x, at_y = kernels.put(x), kernels.put(y)
    assert kernels.squares(100, at_x) == pytest.approx(float(x.square().sum()), rel=1e-5)
    kernels.move(100, at_x, at_y, 0.25)
    np.testing.assert_allclose(kernels.read(at_x, 100), torch.lerp(x, y, 0.25), atol=1e-6)
    kernels.scale(100, at_y, -2.0)
    np.testing.assert_allclose(kernels.read(at_y, 100), -2 * y, atol=1e-6)
    kernels.multiply(100, at_x, at_y)
    np.testing.assert_allclose(kernels.read(at_x, 100), torch.lerp(x, y, 0.25) * -2 * y, atol=1e-6)
