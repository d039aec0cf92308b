"""What is done row by row or number by number: GELU, softmax, layer norm, sums, the optimiser's update."""

from tools.kernels.text import (
    Arithmetic,
    add,
    at,
    countdown,
    declare,
    get,
    load,
    loop,
    mul,
    number,
    params,
    plus,
    put,
    splat,
    store,
    sub,
    times,
    total,
    vectors,
)


def _numbers(step: str, pointers: str, body: str) -> str:
    """Do the body for every vector of $n numbers; the pointers go on by a vector each time."""
    first, *others = pointers.split()
    on = " ".join(put(name, plus(get(name), 16)) for name in others)
    until = f"(i32.lt_u (local.tee ${first} {plus(get(first), 16)}) {get('end')})"
    return f"{step} {put('end', plus(get(first), times(get('n'), 4)))} {loop(f'{body} {on}', until)}"


def gelu(arithmetic: Arithmetic) -> str:
    """y = GELU(x); with an address for the slope, also its derivative, from which the way back is a product."""
    slope = arithmetic.madd(mul(get("z"), splat((2 * 3.141592653589793) ** -0.5)), get("e"), get("p"))
    body = f"""{put("z", load(get("in")))} {arithmetic.normal_as("k")}
      {store(get("out"), mul(get("z"), get("p")))}
      (if {get("slope")} (then {store(get("slope"), slope)} {put("slope", plus(get("slope"), 16))}))"""
    return f"""
  ;; y = gelu(x), n numbers (rounded up to 4); slope: where the derivative goes, 0 for nowhere
  (func (export "gelu") {params("i32", "n in out slope")} {declare("i32", "end")} {declare("v128", "x k e z t p")}
    {_numbers("", "in out", body)})"""


def elementwise(arithmetic: Arithmetic) -> str:
    """Products, moving averages, sums of squares and AdamW on n numbers (rounded up to 4)."""
    multiply = store(get("x"), mul(load(get("x")), load(get("y"))))
    scale = store(get("x"), mul(load(get("x")), get("s")))
    move = store(get("x"), arithmetic.madd(get("s"), sub(load(get("y")), load(get("x"))), load(get("x"))))
    squares = f"{put('s', load(get('x')))} {put('q', arithmetic.madd(get('s'), get('s'), get('q')))}"
    adamw = f"""{put("d", load(get("g")))}
      {put("p", load(get("first")))}
      {put("p", arithmetic.madd(splat(get("b1")), sub(get("d"), get("p")), get("p")))} {
        store(get("first"), get("p"))
    }
      {put("q", load(get("second")))}
      {put("q", arithmetic.madd(splat(get("b2")), sub(mul(get("d"), get("d")), get("q")), get("q")))}
      {store(get("second"), get("q"))}
      {put("d", add(mul(f"(f32x4.sqrt {get('q')})", splat(get("root"))), splat(get("eps"))))}
      {
        store(
            get("x"),
            sub(
                mul(load(get("x")), splat(get("keep"))),
                mul(splat(get("rate")), f"(f32x4.div {get('p')} {get('d')})"),
            ),
        )
    }"""
    return f"""
  ;; x *= y
  (func (export "multiply") {params("i32", "n x y")} {declare("i32", "end")}
    {_numbers("", "x y", multiply)})
  ;; x *= factor
  (func (export "scale") {params("i32", "n x")} {params("f32", "factor")} {declare("i32", "end")} {declare("v128", "s")}
    {put("s", splat(get("factor")))} {_numbers("", "x", scale)})
  ;; x += share (y - x)
  (func (export "move") {params("i32", "n x y")} {params("f32", "share")} {declare("i32", "end")} {declare("v128", "s")}
    {put("s", splat(get("share")))} {_numbers("", "x y", move)})
  ;; the sum of x^2
  (func (export "squares") {params("i32", "n x")} (result f32) {declare("i32", "end")} {declare("v128", "s q")}
    {_numbers("", "x", squares)} {total("q")})
  ;; AdamW on x with gradient g. b1, b2: 1 - beta; root: 1 / sqrt(1 - beta2^step);
  ;; rate: learning rate / (1 - beta1^step); keep: 1 - learning rate * weight decay
  (func (export "adamw") {params("i32", "n x g first second")} {params("f32", "b1 b2 root eps rate keep")}
    {declare("i32", "end")} {declare("v128", "d p q")}
    {_numbers("", "x g first second", adamw)})"""


def _pad(pointer: str, value: float) -> str:
    """Give the numbers after a row of $cols, up to the next multiple of 4, a value that does not count."""
    return f"""{put("p", plus(get(pointer), times(get("cols"), 4)))}
      (block $full (loop $pad
        (br_if $full (i32.eqz (i32.and (i32.sub {get("p")} {get(pointer)}) {number(15)})))
        (f32.store {get("p")} (f32.const {value}))
        {put("p", plus(get("p"), 4))} (br $pad)))"""


def softmax(arithmetic: Arithmetic) -> str:
    """Softmax of each row, and its way back."""
    lanes = [f"(f32x4.extract_lane {lane} {get('m')})" for lane in range(4)]
    top = f"(f32.max (f32.max {lanes[0]} {lanes[1]}) (f32.max {lanes[2]} {lanes[3]}))"
    largest = put("m", f"(f32x4.pmax {get('m')} {load(at('x'))})")
    powers = f"""{put("z", mul(sub(load(at("x")), get("m")), get("f")))} {arithmetic.exp_as("z", "k")}
      {store(at("x"), get("e"))} {put("s", add(get("s"), get("e")))}"""
    share = store(at("x"), mul(get("m"), load(at("x"))))
    along = put("s", arithmetic.madd(load(at("x")), load(at("d")), get("s")))
    back = store(at("d"), mul(mul(get("f"), load(at("x"))), sub(load(at("d")), get("m"))))
    next_row = put("x", plus(get("x"), times(get("ld"), 4)))
    return f"""
  ;; each row [cols] becomes softmax(scale * row), in place; rows lie ld numbers apart, ld a multiple of 4
  (func $softmax (export "softmax") {params("i32", "rows cols x ld")} {params("f32", "scale")}
    {declare("i32", "p i wide")} {declare("v128", "z k e m s f")}
    {put("wide", times(get("cols"), 4))} {put("f", splat(get("scale")))}
    {
        countdown(
            "rows",
            f'''{_pad("x", -3e38)}
      {put("m", splat(-3e38))} {vectors(largest)} {put("m", splat(top))}
      {put("s", splat(0.0))} {vectors(powers)}
      {put("m", splat(f"(f32.div (f32.const 1) {total('s')})"))} {vectors(share)}
      {next_row}''',
        )
    })
  ;; d, the gradient of the rows x = softmax(scale * row), becomes the gradient of `row`
  (func $softmax_grad (export "softmax_grad") {params("i32", "rows cols x d ld")} {params("f32", "scale")}
    {declare("i32", "p i wide")} {declare("v128", "m s f")}
    {put("wide", times(get("cols"), 4))} {put("f", splat(get("scale")))}
    {
        countdown(
            "rows",
            f'''{_pad("d", 0)}
      {put("s", splat(0.0))} {vectors(along)} {put("m", splat(total("s")))} {vectors(back)}
      {next_row} {put("d", plus(get("d"), times(get("ld"), 4)))}''',
        )
    })"""


def attention() -> str:
    """All heads of one picture in one call: weights, mix, and the way back."""
    four = times(get("size"), 4)
    one, none, zero = number(1), number(0), number(0)

    def call(m: str, n: str, k: str, a: tuple, b: tuple, c: tuple) -> str:
        return f"(call $gemm {get(m)} {get(n)} {get(k)} {' '.join((*a, *b, *c))} {zero} {none})"

    def rows_of(pointer: str, stride: str) -> tuple:
        return get(pointer), get(stride), one

    def columns_of(pointer: str, stride: str) -> tuple:
        return get(pointer), one, get(stride)

    forward = f"""{call("tq", "t", "size", rows_of("q", "qrs"), columns_of("k", "krs"), (get("p"), get("ld")))}
      (call $softmax {get("tq")} {get("t")} {get("p")} {get("ld")} {get("scale")})
      {call("tq", "size", "t", rows_of("p", "ld"), rows_of("v", "krs"), (get("y"), get("yrs")))}
      {" ".join(put(name, plus(get(name), four)) for name in "qkvy")} {put("p", plus(get("p"), get("pstep")))}"""
    back = f"""{call("t", "size", "tq", columns_of("p", "ld"), rows_of("dy", "yrs"), (get("dv"), get("krs")))}
      {call("tq", "t", "size", rows_of("dy", "yrs"), columns_of("v", "krs"), (get("d"), get("ld")))}
      (call $softmax_grad {get("tq")} {get("t")} {get("p")} {get("d")} {get("ld")} {get("scale")})
      {call("tq", "size", "t", rows_of("d", "ld"), rows_of("k", "krs"), (get("dq"), get("qrs")))}
      {call("t", "size", "tq", columns_of("d", "ld"), rows_of("q", "qrs"), (get("dk"), get("krs")))}
      {" ".join(put(name, plus(get(name), four)) for name in "q k v dq dk dv dy".split())}
      {put("p", plus(get("p"), get("pstep")))}"""
    return f"""
  ;; queries q [tq size], keys and values k, v [t size] of each head lie side by side, rows qrs and krs numbers apart.
  ;; y [tq heads size]. p: weights [tq ld] of a head; those of the next lie pstep bytes on (0: in their place).
  (func (export "attend") {params("i32", "tq t heads size q qrs k v krs y yrs p ld pstep")} {params("f32", "scale")}
    {countdown("heads", forward)})
  ;; dq, dk, dv are laid out as q, k, v, and overwritten; d: room for one head's [tq ld]
  (func (export "attend_grad") {params("i32", "tq t heads size q qrs k v krs dq dk dv dy yrs p ld pstep d")}
    {params("f32", "scale")} {countdown("heads", back)})"""


def layer_norm(arithmetic: Arithmetic) -> str:
    """Layer norm and its way back, and sums over rows; columns are multiples of 4."""
    mean = put("s", add(get("s"), load(at("in"))))
    apart = put("x", sub(load(at("in")), get("m")))
    variance = apart + put("q", arithmetic.madd(get("x"), get("x"), get("q")))
    deviation = f"(f32.sqrt (f32.add (f32.mul {get('c')} {total('q')}) {get('eps')}))"
    write = f"""{put("x", mul(sub(load(at("in")), get("m")), get("s")))}
      (if {get("unit")} (then {store(at("unit"), get("x"))}))
      {store(at("out"), arithmetic.madd(get("x"), load(at("gain")), load(at("bias"))))}"""
    sums = f"""{put("d", load(at("dy")))} {put("u", load(at("unit")))}
      {store(at("dbias"), add(load(at("dbias")), get("d")))}
      {store(at("dgain"), arithmetic.madd(get("d"), get("u"), load(at("dgain"))))}
      {put("d", mul(get("d"), load(at("gain"))))} {put("s", add(get("s"), get("d")))}
      {put("q", arithmetic.madd(get("d"), get("u"), get("q")))}"""
    inner = sub(sub(mul(load(at("dy")), load(at("gain"))), get("m")), mul(load(at("unit")), get("q")))
    back = f"""{put("x", mul(get("s"), inner))}
      (if {get("add")} (then {put("x", add(get("x"), load(at("dx"))))})) {store(at("dx"), get("x"))}"""
    share = f"(f32.div (f32.const 1) (f32.convert_i32_s {get('cols')}))"
    setup = put("wide", times(get("cols"), 4)) + put("c", share)

    def on(*pointers: str) -> str:
        return " ".join(put(name, plus(get(name), get("wide"))) for name in pointers)

    return f"""
  ;; y = layer norm of x, row by row. With unit: what stands before gain and bias, and 1 / deviation.
  (func (export "norm") {params("i32", "rows cols in gain bias out unit scales")} {params("f32", "eps")}
    {declare("i32", "i wide")} {declare("f32", "c")} {declare("v128", "s q m x")} {setup}
    {
        countdown(
            "rows",
            f'''{put("s", splat(0.0))} {vectors(mean)}
      {put("m", splat(f"(f32.mul {get('c')} {total('s')})"))}
      {put("q", splat(0.0))} {vectors(variance)} {put("s", splat(f"(f32.div (f32.const 1) {deviation})"))}
      {vectors(write)}
      (if {get("unit")} (then (f32.store {get("scales")} (f32x4.extract_lane 0 {get("s")}))
        {put("scales", plus(get("scales"), 4))} {on("unit")}))
      {on("in", "out")}''',
        )
    })
  ;; the way back: dx = or += , and sums over rows are added to dgain and dbias
  (func (export "norm_grad") {params("i32", "rows cols unit scales gain dy dx add dgain dbias")}
    {declare("i32", "i wide")} {declare("f32", "c")} {declare("v128", "s q m x d u")} {setup}
    {
        countdown(
            "rows",
            f'''{put("s", splat(0.0))} {put("q", splat(0.0))} {vectors(sums)}
      {put("m", splat(f"(f32.mul {get('c')} {total('s')})"))} {put("q", splat(f"(f32.mul {get('c')} {total('q')})"))}
      {put("s", splat(f"(f32.load {get('scales')})"))} {vectors(back)}
      {put("scales", plus(get("scales"), 4))} {on("unit", "dy", "dx")}''',
        )
    })
  ;; sums [cols] += the rows of x
  (func (export "column_sums") {params("i32", "rows cols in sums")} {declare("i32", "i wide")}
    {put("wide", times(get("cols"), 4))}
    {countdown("rows", vectors(store(at("sums"), add(load(at("sums")), load(at("in"))))) + on("in"))})"""


def row_kernels(arithmetic: Arithmetic) -> str:
    """All of this file."""
    parts = [
        gelu(arithmetic),
        elementwise(arithmetic),
        softmax(arithmetic),
        attention(),
        layer_norm(arithmetic),
    ]
    return "\n".join(parts)
