"""Bottleneck features and prototypes on a sphere: normalisation, heads shared or separate, KoLeo's push."""

from typing import Any

import numpy as np
import traitlets

from dinov2_edu.widgets._base import BookWidget, array_bytes, bundle

MAX_PROTOTYPES = 26
"""Prototypes are named A to Z."""


class PrototypesWidget(BookWidget):
    """Class and patch tokens, and the prototypes, of a head whose bottleneck is 3 wide and so can be seen.

    A head maps a token to a bottleneck feature, brings it to length 1 and compares it with its prototypes; a
    logit is the cosine, and a softmax at a temperature makes the probabilities. With a shared head class and
    patch tokens meet the same prototypes, with separate heads each kind has its own. KoLeo's push is gradient
    descent on the class tokens shown; in the model it acts on the backbone's class tokens, before the head.

    Traitlets, all readable from Python after a reader moved the control:
        heads: "shared" or "separate".
        normalise: whether features are brought to length 1.
        temperature: of the softmax.
        token: the token that is looked at; class tokens count from 0, patch tokens follow them.
        lines: "prototype" (each token to its nearest) or "neighbour" (each class token to its nearest other).
        koleo_steps: gradient steps taken.
        yaw, pitch: how the sphere is turned, in degrees.

    Args:
        cls_points: float array `m 3`, bottleneck features of class tokens, not normalised, lengths about 1.
        patch_points: `j 3`, the same of patch tokens, through the same head.
        prototypes: `k 3`, that head's prototypes; only their directions count.
        ibot_points: `j 3`, the same patch tokens through a head of their own.
        ibot_prototypes: `k 3`, that head's prototypes.
        source: where the points come from, in a few words for the caption.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: an array of another shape, a point at the origin, fewer than two class tokens, or more
            prototypes than letters.
    """

    _esm = bundle("prototypes.js")
    cls_points = traitlets.Bytes().tag(sync=True)
    patch_points = traitlets.Bytes().tag(sync=True)
    prototypes = traitlets.Bytes().tag(sync=True)
    ibot_points = traitlets.Bytes().tag(sync=True)
    ibot_prototypes = traitlets.Bytes().tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)

    heads = traitlets.Enum(["shared", "separate"], "shared").tag(sync=True)
    normalise = traitlets.Bool(True).tag(sync=True)
    temperature = traitlets.Float(0.1, min=0.01, max=1.0).tag(sync=True)
    token = traitlets.Int(0, min=0).tag(sync=True)
    lines = traitlets.Enum(["prototype", "neighbour"], "prototype").tag(sync=True)
    koleo_steps = traitlets.Int(0, min=0, max=200).tag(sync=True)
    yaw = traitlets.Int(20, min=-180, max=180).tag(sync=True)
    pitch = traitlets.Int(20, min=-90, max=90).tag(sync=True)

    def __init__(
        self,
        *,
        cls_points: np.ndarray,
        patch_points: np.ndarray,
        prototypes: np.ndarray,
        ibot_points: np.ndarray,
        ibot_prototypes: np.ndarray,
        **values: Any,
    ) -> None:
        points = {
            "cls_points": np.asarray(cls_points), "patch_points": np.asarray(patch_points),
            "prototypes": np.asarray(prototypes), "ibot_points": np.asarray(ibot_points),
            "ibot_prototypes": np.asarray(ibot_prototypes),
        }  # fmt: skip
        _check(points)
        values |= {name: array_bytes(rows, "float32") for name, rows in points.items()}
        super().__init__(**values)


def _check(points: dict[str, np.ndarray]) -> None:
    for name, rows in points.items():
        if rows.ndim != 2 or rows.shape[1] != 3 or len(rows) == 0 or not np.isfinite(rows).all():
            raise ValueError(f"{name}: wanted finite numbers of shape (points, 3), got shape {rows.shape}")
        if (np.linalg.norm(rows, axis=1) < 1e-6).any():
            raise ValueError(f"{name}: a point at the origin has no direction")
    if len(points["cls_points"]) < 2:
        raise ValueError("KoLeo needs a nearest neighbour, so at least 2 class tokens")
    if points["patch_points"].shape != points["ibot_points"].shape:
        raise ValueError(
            "patch_points and ibot_points are the same patches through two heads: wanted equal shapes, got "
            f"{points['patch_points'].shape} and {points['ibot_points'].shape}"
        )
    for name in ("prototypes", "ibot_prototypes"):
        if len(points[name]) > MAX_PROTOTYPES:
            raise ValueError(
                f"{name}: at most {MAX_PROTOTYPES} can be distinguished here, got {len(points[name])}"
            )
