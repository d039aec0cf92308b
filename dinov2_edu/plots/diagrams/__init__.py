"""The book's diagrams, drawn by code: each function returns a `Diagram`, shown by a notebook as inline SVG.

A diagram follows the page's light or dark colours by itself, stays legible at the width of a phone, and
carries a title and a long description for those who cannot see it.
"""

from collections.abc import Callable

from dinov2_edu.plots.diagrams.backbone import diagram_block, diagram_patches
from dinov2_edu.plots.diagrams.heads import diagram_dino_head, diagram_ibot_head
from dinov2_edu.plots.diagrams.hero import hero
from dinov2_edu.plots.diagrams.inputs import diagram_crops, diagram_masking, diagram_views
from dinov2_edu.plots.diagrams.losses import diagram_dino_loss, diagram_ibot_loss
from dinov2_edu.plots.diagrams.released import diagram_released
from dinov2_edu.plots.diagrams.step import diagram_here, diagram_step
from dinov2_edu.plots.diagrams.update import diagram_update
from dinov2_edu.plots.svg import Diagram

DIAGRAMS: dict[str, Callable[..., Diagram]] = {
    "crops": diagram_crops,
    "views": diagram_views,
    "masking": diagram_masking,
    "patches": diagram_patches,
    "block": diagram_block,
    "dino-head": diagram_dino_head,
    "ibot-head": diagram_ibot_head,
    "dino-loss": diagram_dino_loss,
    "ibot-loss": diagram_ibot_loss,
    "update": diagram_update,
    "step": diagram_step,
    "released": diagram_released,
}
"""Name to the function that draws it, in the book's order."""

__all__ = ["DIAGRAMS", "Diagram", "diagram_here", "hero", *(draw.__name__ for draw in DIAGRAMS.values())]
