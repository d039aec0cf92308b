"""The matrix product: C = A B from packed strips of A and B, a block of C in registers at a time.

Tried and dropped: reading A where it lies, a pointer a row. It saves the packing and still is a sixth slower on x86-64.
"""

from tools.kernels.text import (
    Arithmetic,
    add,
    declare,
    get,
    least,
    load,
    loop,
    number,
    params,
    plus,
    put,
    store,
    times,
)

COLUMNS = 8
"""Columns of a block of C, and of a packed strip of B: two vectors."""

K_SLICE = 256
"""A strip of A and one of B, this long (4 to 8 kB each), stay in the first cache."""

N_SLICE = 256
"""So many columns of B are packed at a time (256 kB): they stay in the second cache."""

PACKED_A = 16
"""Where the packed strip of A lies in memory: up to 8 rows."""

PACKED_B = PACKED_A + 4 * 8 * K_SLICE
"""Where packed B lies."""

HEAP = PACKED_B + 4 * K_SLICE * N_SLICE
"""The first free address."""


def _four(value: str) -> str:
    return f"(i32.shl {value} {number(2)})"


def product(name: str, rows: int) -> str:
    """The function that walks over C in blocks of `rows` x COLUMNS, for A, B anywhere in memory."""
    k_left, n_left = f"(i32.sub {get('k')} {get('k0')})", f"(i32.sub {get('n')} {get('j0')})"
    row_left, column_left = f"(i32.sub {get('m')} {get('i')})", f"(i32.sub {get('nc')} {get('j')})"
    b_slice = plus(get("b"), _four(plus(times(get("k0"), get("brs")), times(get("j0"), get("bcs")))))
    column = plus(get("j0"), get("j"))
    a_slice = plus(get("a"), _four(plus(times(get("i"), get("ars")), times(get("k0"), get("acs")))))
    block = f"""(call $block{rows}
      {plus(number(PACKED_B), _four(times(get("j"), get("kc"))))} {get("kc")}
      {plus(get("c"), _four(plus(times(get("i"), get("crs")), column)))} {_four(get("crs"))}
      {get("mr")} {least(column_left, number(COLUMNS))}
      (i32.or {get("add")} (i32.ne {get("k0")} {number(0)}))
      (select {plus(get("bias"), _four(column))} {number(0)}
        (i32.and (i32.ne {get("bias")} {number(0)}) (i32.eqz {get("k0")}))))"""
    pack_a = f"""{put("mr", least(row_left, number(rows)))}
      (call $pack{rows} {number(PACKED_A)} {get("mr")} {get("kc")} {a_slice} {get("ars")} {get("acs")})"""

    def steps(counter: str, size: int, end: str, body: str) -> str:
        return put(counter, number(0)) + loop(
            body, f"(i32.lt_s (local.tee ${counter} {plus(get(counter), size)}) {get(end)})"
        )

    strips = steps("i", rows, "m", pack_a + steps("j", COLUMNS, "nc", block))
    pack_b = f"(call $pack8 {number(PACKED_B)} {get('nc')} {get('kc')} {b_slice} {get('bcs')} {get('brs')})"
    slices = steps("j0", N_SLICE, "n", put("nc", least(n_left, number(N_SLICE))) + pack_b + strips)
    return f"""
  ;; C[m n] = A B with A [m k], B [k n]. A[i, j] lies at a + 4 (i ars + j acs), and so on: swapped strides read a
  ;; transposed matrix. add = 1: C += A B. bias: address of n numbers that are added to each row, 0 for none.
  (func ${name} (export "{name}") {params("i32", "m n k a ars acs b brs bcs c crs add bias")}
    {declare("i32", "i j nc kc j0 k0 mr")}
    {steps("k0", K_SLICE, "k", put("kc", least(k_left, number(K_SLICE))) + slices)})"""


def block(rows: int, arithmetic: Arithmetic) -> str:
    """One block of C from a strip of A and one of B: `rows` x COLUMNS sums in registers."""
    all_rows = range(rows)
    sums = " ".join(f"c{row}_0 c{row}_1" for row in all_rows)
    multiply = [put("b0", load(get("b"))), put("b1", load(get("b"), 16))]
    for row in all_rows:
        multiply.append(put("s", f"(v128.load32_splat offset={4 * row} {get('a')})"))
        multiply += [
            put(f"c{row}_{half}", arithmetic.madd(get("s"), get(f"b{half}"), get(f"c{row}_{half}")))
            for half in (0, 1)
        ]
    multiply.append(put("a", plus(get("a"), 4 * rows)))
    end = f"(i32.lt_u (local.tee $b {plus(get('b'), 4 * COLUMNS)}) {get('end')})"
    biased = [put("b0", load(get("bias"))), put("b1", load(get("bias"), 16))] + [
        put(f"c{row}_{half}", add(get(f"c{row}_{half}"), get(f"b{half}")))
        for row in all_rows
        for half in (0, 1)
    ]
    return f"""
  (func $block{rows} {params("i32", "b kc c crs mr nr add bias")}
    {declare("i32", "a end")} {declare("v128", "s b0 b1 " + sums)}
    {put("a", number(PACKED_A))}
    {put("end", plus(get("b"), times(get("kc"), 4 * COLUMNS)))}
    {loop(" ".join(multiply), end)}
    (if {get("bias")} (then {" ".join(biased)}))
    {" ".join(_store_row(row) for row in all_rows)})"""


def _store_row(row: int) -> str:
    """Store a row of a block, at the right edge of C only its first numbers, and leave after the last row."""
    first, second = get(f"c{row}_0"), get(f"c{row}_1")
    whole = f"""(if {get("add")} (then
        {put(f"c{row}_0", add(first, load(get("c"))))} {put(f"c{row}_1", add(second, load(get("c"), 16)))}))
        {store(get("c"), first)} {store(get("c"), second, 16)}"""
    narrow = f"(call $edge {get('c')} {get('nr')} {get('add')} {first} {second})"
    leave = f"(if (i32.le_s {get('mr')} {number(row + 1)}) (then (return)))"
    return f"""(if (i32.eq {get("nr")} {number(COLUMNS)}) (then {whole}) (else {narrow}))
      {leave} {put("c", plus(get("c"), get("crs")))}"""


EDGE = f"""
  ;; The first `count` (1 to 7) of eight numbers to memory, or added to what is there.
  (func $edge {params("i32", "c count add")} {params("v128", "x y")}
    (if (i32.ge_s {get("count")} {number(4)}) (then
      (if {get("add")} (then {put("x", add(get("x"), load(get("c"))))}))
      {store(get("c"), get("x"))}
      {put("x", get("y"))} {put("c", plus(get("c"), 16))} {put("count", f"(i32.sub {get('count')} {number(4)})")}))
    (block $done (loop $rest
      (br_if $done (i32.le_s {get("count")} {number(0)}))
      (f32.store {get("c")} (f32.add (f32x4.extract_lane 0 {get("x")})
        (if (result f32) {get("add")} (then (f32.load {get("c")})) (else (f32.const 0)))))
      {put("x", f"(i8x16.shuffle 4 5 6 7 8 9 10 11 12 13 14 15 0 1 2 3 {get('x')} {get('x')})")}
      {put("c", plus(get("c"), 4))} {put("count", f"(i32.sub {get('count')} {number(1)})")}
      (br $rest))))"""


def pack(rows: int) -> str:
    """Strips of 4 or 8 rows of a [count k] matrix, one column of a strip after the other; missing rows become 0."""
    width = 4 * rows
    on = put("p", plus(get("p"), get("cs")))
    until = f"(i32.lt_u (local.tee $q {plus(get('q'), width)}) {get('end')})"
    side_by_side = loop(
        " ".join(store(get("q"), load(get("p"), offset), offset) for offset in range(0, width, 16)) + on,
        until,
    )
    one_row = loop(f"(f32.store {get('q')} (f32.load {get('p')})) {on}", until)
    zeros = loop(f"(f32.store {get('q')} (f32.const 0))", until)
    fours = (
        f"(i32.and (i32.eqz (i32.and {get('r')} {number(3)})) (i32.le_s {plus(get('r'), 4)} {get('count')}))"
    )
    return f"""
  (func $pack{rows} {params("i32", "to count k from rs cs")}
    {declare("i32", "r p q end left")} {declare("v128", "v0 v1 v2 v3 w0 w1 w2 w3")}
    {put("rs", _four(get("rs")))} {put("cs", _four(get("cs")))}
    (loop $strips
      {put("end", plus(get("to"), times(get("k"), width)))}
      (if (i32.and (i32.ge_s {get("count")} {number(rows)}) (i32.eq {get("rs")} {number(4)}))
        (then {put("p", get("from"))} {put("q", get("to"))} {side_by_side})
        (else {put("r", number(0))} (loop $rows
          {put("p", plus(get("from"), times(get("r"), get("rs"))))} {put("q", plus(get("to"), _four(get("r"))))}
          (if (i32.lt_s {get("r")} {get("count")})
            (then (if (i32.and (i32.eq {get("cs")} {number(4)}) {fours})
              (then {_transposed(width)} {put("r", plus(get("r"), 3))})
              (else {one_row})))
            (else {zeros}))
          (br_if $rows (i32.lt_s (local.tee $r {plus(get("r"), 1)}) {number(rows)})))))
      {put("from", plus(get("from"), times(get("rs"), rows)))} {put("to", get("end"))}
      (br_if $strips (i32.gt_s (local.tee $count (i32.sub {get("count")} {number(rows)})) {number(0)}))))"""


def _transposed(width: int) -> str:
    """Four rows at once: 4 x 4 numbers change places in registers."""
    rows = [
        get("p"),
        plus(get("p"), get("rs")),
        plus(get("p"), times(get("rs"), 2)),
        plus(get("p"), times(get("rs"), 3)),
    ]
    low, high = "0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23", "8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31"
    left, right = "0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23", "8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31"
    pairs = [
        ("w0", low, "v0", "v1"),
        ("w1", high, "v0", "v1"),
        ("w2", low, "v2", "v3"),
        ("w3", high, "v2", "v3"),
    ]
    columns = [("w0", "w2", left), ("w0", "w2", right), ("w1", "w3", left), ("w1", "w3", right)]
    four = [put(f"v{row}", load(address)) for row, address in enumerate(rows)]
    four += [put(into, f"(i8x16.shuffle {order} {get(a)} {get(b)})") for into, order, a, b in pairs]
    four += [
        store(get("q"), f"(i8x16.shuffle {order} {get(a)} {get(b)})", width * column)
        for column, (a, b, order) in enumerate(columns)
    ]
    one = [
        f"(f32.store offset={4 * row} {get('q')} (f32.load {address}))" for row, address in enumerate(rows)
    ]
    return f"""{put("left", f"(i32.shr_u {get('k')} {number(2)})")}
      (block $done (loop $fours
        (br_if $done (i32.eqz {get("left")}))
        {" ".join(four)}
        {put("p", plus(get("p"), 16))} {put("q", plus(get("q"), 4 * width))}
        {put("left", f"(i32.sub {get('left')} {number(1)})")} (br $fours)))
      (block $done (loop $rest
        (br_if $done (i32.ge_u {get("q")} {get("end")}))
        {" ".join(one)}
        {put("p", plus(get("p"), 4))} {put("q", plus(get("q"), width))} (br $rest)))"""


def matrix_kernels(arithmetic: Arithmetic) -> str:
    """Both block sizes: 4 x 8 for 16 vector registers (x86-64), 8 x 8 for 32 (ARM)."""
    parts = [
        product("gemm4", 4),
        product("gemm8", 8),
        block(4, arithmetic),
        block(8, arithmetic),
        EDGE,
        pack(4),
        pack(8),
    ]
    return "\n".join(parts)
