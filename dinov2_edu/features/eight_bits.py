"""Features in a twelfth of their bytes: 128 principal components of 384 numbers, each a whole number of 8 bits.

What that costs is for whoever records to measure; `experiments.recordings_items` does, and writes it beside them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from dinov2_edu.checks import checked, require
from dinov2_edu.features.principal import principal_directions
from dinov2_edu.numerics import torch_defaults

MOST = 127
"""The largest code; the smallest is its negative, so that 0 stands for the mean."""


@checked
@dataclass(frozen=True)
class EightBits:
    """How rows of width d become k codes of 8 bits, and back.

    Attributes:
        mean: mean of the rows that it was fitted to.
        basis: a principal direction a row, in half precision.
        scale: what a step of each code is worth.
    """

    mean: Float[Tensor, " d"]
    basis: Float[Tensor, "k d"]
    scale: Float[Tensor, " k"]

    @checked
    @torch_defaults()
    def encode(self, rows: Float[Tensor, "n d"]) -> Int8[Tensor, "n k"]:
        """Codes from -127 to 127; what lies farther out than the rows of the fit is cut to the ends."""
        d = self.basis.shape[1]
        require(rows.shape[1] == d, f"these codes are of rows {d} wide, got rows {rows.shape[1]} wide")
        scores = (rows.float() - self.mean) @ self.basis.float().T
        return (scores / self.scale).round_().clamp_(-MOST, MOST).to(torch.int8)

    @checked
    @torch_defaults()
    def decode(self, codes: Int8[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        """Rows in single precision, as near to those encoded as components and steps allow."""
        k = len(self.basis)
        require(codes.shape[1] == k, f"wanted {k} codes a row, got {codes.shape[1]}")
        return torch.addmm(self.mean, codes.float() * self.scale, self.basis.float())


@checked
@torch_defaults()
def fit_eight_bits(rows: Float[Tensor, "n d"], dimensions: int) -> EightBits:
    """Fit mean, directions and steps to rows: the largest score of a direction becomes the code 127.

    Args:
        rows: features to fit to, at least one.
        dimensions: how many leading principal components to keep, at most d.

    Raises:
        ValueError: no rows, rows that are not finite, or more dimensions than the rows have.
    """
    n, d = rows.shape
    require(n > 0, "rows is empty: there is nothing to fit to")
    require(bool(rows.isfinite().all()), "rows hold numbers that are not finite")
    require(1 <= dimensions <= d, f"dimensions must lie in 1 to {d}, the width of the rows; got {dimensions}")
    mean = rows.double().mean(dim=0).float()
    directions, _ = principal_directions((rows.double() - mean).numpy(), dimensions)
    basis = torch.from_numpy(directions.T.copy()).half()
    largest = ((rows.float() - mean) @ basis.float().T).abs().amax(dim=0)
    return EightBits(mean, basis, largest.clamp_min(1e-12) / MOST)
