"""Which of two classifiers is better, when both have classified the same pictures."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from dinov2_edu.checks import checked, require


class PairedTest(NamedTuple):
    """McNemar's exact test.

    Attributes:
        only_first: pictures that the first classifier alone gets right.
        only_second: pictures that the second alone gets right.
        p_value: how often two classifiers that are equally good would differ by at least as much.
    """

    only_first: int
    only_second: int
    p_value: float

    @property
    def verdict(self) -> str:
        """What follows where 0.01 is asked of the p-value: which classifier is better, or that none is shown to be."""
        if self.p_value >= 0.01:
            return "no difference shown"
        return f"the {'first' if self.only_first > self.only_second else 'second'} is better"


@checked
def paired_test(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> PairedTest:
    """Compare two classifiers by the pictures on which one of them alone is right (McNemar's exact test).

    Whether two intervals overlap says less: they take the classifiers for two samples, while most pictures are easy,
    or hard, for both.

    Args:
        first: whether the first classifier is right, for each picture.
        second: the same for the second, pictures in the same order.

    Raises:
        ValueError: no pictures, or not equally many.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
        percentages", 1947; exact, from the binomial distribution with probability 1/2.
    """
    require(len(first) > 0, "wanted at least one picture, got none")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return PairedTest(only_first, only_second, min(1.0, 2 * tail / 2**n))
