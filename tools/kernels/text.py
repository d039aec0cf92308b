"""Short words for WebAssembly text: what the kernels of this folder are written with."""

import itertools

_loops = itertools.count()

EXP = (0.0082976548, 0.041915382, 0.16667575, 0.49998895, 0.99999969, 1.0000000717)
"""e^r for |r| <= ln 2 / 2, highest power first: least largest relative error for this degree, 7.5e-8."""

ERFC = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
"""Formula 7.1.26 of Abramowitz and Stegun, in t = 1 / (1 + 0.3275911 |x|): error 1.5e-7."""


def get(name: str) -> str:
    """The value of a local variable."""
    return f"(local.get ${name})"


def put(name: str, value: str) -> str:
    """Set a local variable."""
    return f"(local.set ${name} {value})"


def plus(*terms: str | int) -> str:
    """A sum of whole numbers; an int is a constant."""
    words = [number(term) if isinstance(term, int) else term for term in terms]
    total = words[0]
    for word in words[1:]:
        total = f"(i32.add {total} {word})"
    return total


def times(first: str, second: str | int) -> str:
    """A product of whole numbers."""
    return f"(i32.mul {first} {number(second) if isinstance(second, int) else second})"


def number(value: int) -> str:
    """A whole number."""
    return f"(i32.const {value})"


def least(first: str, second: str) -> str:
    """The smaller of two whole numbers; both are computed twice."""
    return f"(select {first} {second} (i32.lt_s {first} {second}))"


def splat(value: float | str) -> str:
    """Four times the same number: a constant, or a value of type f32."""
    if isinstance(value, str):
        return f"(f32x4.splat {value})"
    return f"(v128.const f32x4 {value!r} {value!r} {value!r} {value!r})"


def load(address: str, offset: int = 0) -> str:
    """Four numbers from memory."""
    return f"(v128.load offset={offset} {address})"


def store(address: str, value: str, offset: int = 0) -> str:
    """Four numbers to memory."""
    return f"(v128.store offset={offset} {address} {value})"


def add(first: str, second: str) -> str:
    """first + second, four lanes."""
    return f"(f32x4.add {first} {second})"


def sub(first: str, second: str) -> str:
    """first - second, four lanes."""
    return f"(f32x4.sub {first} {second})"


def mul(first: str, second: str) -> str:
    """first * second, four lanes."""
    return f"(f32x4.mul {first} {second})"


def total(name: str) -> str:
    """The sum of a local's four lanes, f32."""
    lanes = [f"(f32x4.extract_lane {lane} {get(name)})" for lane in range(4)]
    return f"(f32.add (f32.add {lanes[0]} {lanes[1]}) (f32.add {lanes[2]} {lanes[3]}))"


def declare(kind: str, names: str) -> str:
    """Local variables of a kind ("i32", "f32", "v128"), their names separated by spaces."""
    return " ".join(f"(local ${name} {kind})" for name in names.split())


def params(kind: str, names: str) -> str:
    """The same for parameters."""
    return " ".join(f"(param ${name} {kind})" for name in names.split())


def loop(body: str, while_: str) -> str:
    """Do the body, and again as long as the condition holds: at least once."""
    label = f"l{next(_loops)}"
    return f"(loop ${label} {body} (br_if ${label} {while_}))"


def vectors(body: str) -> str:
    """Do the body for each vector of a row: $i counts bytes to $wide, `at(p)` is the address in the row at $p."""
    step = f"(local.tee $i {plus(get('i'), 16)})"
    return put("i", number(0)) + loop(body, f"(i32.lt_s {step} {get('wide')})")


def at(name: str) -> str:
    """The address of the vector that `vectors` is at, in the row that a local points to."""
    return plus(get(name), get("i"))


def countdown(name: str, body: str) -> str:
    """Do the body, and count a local down until it is 0: at least once."""
    return loop(body, f"(local.tee ${name} (i32.sub {get(name)} {number(1)}))")


class Arithmetic:
    """What differs with and without fused multiply-add ("relaxed SIMD")."""

    def __init__(self, fused: bool) -> None:
        self.fused = fused

    def madd(self, first: str, second: str, third: str) -> str:
        """first * second + third."""
        if self.fused:
            return f"(f32x4.relaxed_madd {first} {second} {third})"
        return add(mul(first, second), third)

    def polynomial(self, x: str, coefficients: tuple[float, ...]) -> str:
        """By Horner's rule, highest power first."""
        value = splat(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.madd(value, x, splat(coefficient))
        return value

    def exp_as(self, x: str, whole: str) -> str:
        """e^x of local `x`, which is changed, into local $e: x = n ln 2 + r, n into the exponent's bits."""
        bits = f"(i32x4.add (i32x4.trunc_sat_f32x4_s {get(whole)}) (v128.const i32x4 127 127 127 127))"
        return "\n".join(
            [
                put(x, f"(f32x4.max (f32x4.min {get(x)} {splat(88.0)}) {splat(-87.0)})"),
                put(whole, f"(f32x4.nearest {mul(get(x), splat(1.44269504088896))})"),
                put(x, self.madd(get(whole), splat(-0.693359375), get(x))),
                put(x, self.madd(get(whole), splat(2.12194440e-4), get(x))),
                put("e", mul(self.polynomial(get(x), EXP), f"(i32x4.shl {bits} {number(23)})")),
            ]
        )

    def normal_as(self, whole: str) -> str:
        """The standard normal distribution function of local $z into local $p; leaves e^(-z^2 / 2) in $e."""
        scaled = self.madd(f"(f32x4.abs {get('z')})", splat(0.3275911 * 0.5**0.5), splat(1.0))
        half = tuple(coefficient / 2 for coefficient in ERFC)
        below = f"(f32x4.lt {get('z')} {splat(0.0)})"
        return "\n".join(
            [
                put("t", f"(f32x4.div {splat(1.0)} {scaled})"),
                put("x", mul(mul(get("z"), get("z")), splat(-0.5))),
                self.exp_as("x", whole),
                put("p", mul(mul(get("e"), get("t")), self.polynomial(get("t"), half))),
                put("p", f"(v128.bitselect {get('p')} {sub(splat(1.0), get('p'))} {below})"),
            ]
        )
