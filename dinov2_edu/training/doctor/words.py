"""The doctor's words, which Python and the page's control read from one file, and how numbers are put into them."""

import json
import math
from pathlib import Path
from typing import Any

WORDS = json.loads((Path(__file__).parents[2] / "assets" / "doctor.json").read_text(encoding="utf-8"))
"""The doctor's sentences: states (verdict, advice), evidence, causes (name, evidence, advice), what was not seen;
pieces of sentences; notes on what was read, and why a log was refused."""


def say(template: str, values: dict[str, Any]) -> str:
    """Put numbers into a sentence."""
    return template.format(**{name: number(value) for name, value in values.items()})


def number(value: Any) -> str:
    """A number in words: a whole one in full, another with four digits that count; texts stay as they are."""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return WORDS["pieces"]["not a number" if math.isnan(value) else "infinite"]
    if value == 0 or float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        digits, power = f"{value:.2e}".split("e")
        return f"{digits}e{int(power)}"
    text = f"{value:.{3 - math.floor(math.log10(abs(value)))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def refusal(why: str, /, **values: Any) -> str:
    """Why a log was refused, and what is wanted instead."""
    return WORDS["refused"][why].format(wanted=WORDS["refused"]["wanted"], **values)
