"""What stands at the door of every public function: its arguments are looked at once, and a bad one is explained.

`signature` holds arguments to the annotations, `numbers` has what an annotation cannot say, `words` puts both into
sentences. Nothing here needs torch, so that figures and controls have doors too.
"""

from dinov2_edu.door.numbers import (
    check_above_zero,
    check_at_least,
    check_one_of,
    check_probability,
    check_range,
    check_temperature,
    require,
)
from dinov2_edu.door.signature import checked
from dinov2_edu.door.words import describe

__all__ = [
    "check_above_zero",
    "check_at_least",
    "check_one_of",
    "check_probability",
    "check_range",
    "check_temperature",
    "checked",
    "describe",
    "require",
]
