"""Arguments of public functions are checked once, at the call, and a bad one is explained.

`signature` holds arguments to the annotations, `numbers` has what an annotation cannot say, `words` puts both into
sentences. Nothing here needs torch, so that figures and controls are checked too.
"""

from dinov2_edu.checks.numbers import (
    check_above_zero,
    check_at_least,
    check_one_of,
    check_probability,
    check_range,
    require,
)
from dinov2_edu.checks.signature import checked
from dinov2_edu.checks.words import describe

__all__ = [
    "check_above_zero",
    "check_at_least",
    "check_one_of",
    "check_probability",
    "check_range",
    "checked",
    "describe",
    "require",
]
