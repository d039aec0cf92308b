"""Principal directions of rows, for colours and for codes of 8 bits.

scikit-learn has this solver of PCA from 1.5 on (`svd_solver="covariance_eigh"`); this package takes 1.4 too, which has
none such.
"""

import numpy as np


def principal_directions(centred: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The leading principal directions, and the variances of all.

    A direction's sign is arbitrary; here its largest entry is positive.

    Args:
        centred: rows `m d` in double precision, less their mean.
        count: how many directions.

    Returns:
        Directions as columns `d count`, and the variances `d` (times the number of rows), the largest first.
    """
    variances, directions = np.linalg.eigh(centred.T @ centred)  # ascending; d x d, however many rows
    leading = directions[:, ::-1][:, :count]
    largest = leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])]
    return leading * np.where(largest < 0, -1.0, 1.0), variances[::-1].clip(min=0)
