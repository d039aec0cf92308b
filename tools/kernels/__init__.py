"""The WebAssembly kernels of the engine that runs in the page: their text, and how it is assembled.

python -m tools.kernels    write dinov2_edu/widgets/live/kernels.js anew (needs `wasmtime`, of the extra `test`)
"""

from tools.kernels.matrix import HEAP, matrix_kernels
from tools.kernels.rows import row_kernels
from tools.kernels.text import Arithmetic, get, params


def module_text(fused: bool) -> str:
    """The whole module as WebAssembly text.

    Args:
        fused: use fused multiply-add of relaxed SIMD, which not every browser has.
    """
    arithmetic = Arithmetic(fused)
    names = "m n k a ars acs b brs bcs c crs add bias"
    given = " ".join(get(name) for name in names.split())
    return f"""(module
  (import "env" "memory" (memory 8))
  (global (export "heap") i32 (i32.const {HEAP})) ;; below: packed B
  (global $rows (export "rows") (mut i32) (i32.const 4)) ;; rows of a block of C in registers: 4, or 8
  (func $gemm (export "gemm") {params("i32", names)}
    (if (i32.eq (global.get $rows) (i32.const 8)) (then (call $gemm8 {given})) (else (call $gemm4 {given}))))
{matrix_kernels(arithmetic)}
{row_kernels(arithmetic)}
)
"""


def assemble(text: str) -> bytes:
    """WebAssembly text to bytes, without names.

    Raises:
        ImportError: `wasmtime` is not installed.
    """
    import wasmtime

    return without_names(bytes(wasmtime.wat2wasm(text)))


def without_names(module: bytes) -> bytes:
    """A module without its custom sections, which hold names for debuggers only."""
    kept, place = module[:8], 8
    while place < len(module):
        size, shift, body = 0, 0, place + 1
        while True:
            size |= (module[body] & 127) << shift
            body, shift = body + 1, shift + 7
            if module[body - 1] < 128:
                break
        if module[place] != 0:
            kept += module[place : body + size]
        place = body + size
    return kept
