"""Diagram of chapter 12: from a crawl of the web to the files that are downloaded, and what came after."""

from dinov2_edu.plots.parts import layer, network
from dinov2_edu.plots.svg import SMALL, Box, Canvas, Diagram


def diagram_released() -> Diagram:
    """Draw the stages that made the released models, and the two that followed."""
    canvas = Canvas()
    canvas.text((180, 12), "how the released models were made", bold=True)
    layer(canvas, Box(20, 32, 150, 52), "curated sets")
    layer(canvas, Box(190, 32, 150, 52), "pictures from\nthe web")
    canvas.arrow([(265, 84), (265, 106)])
    layer(canvas, Box(190, 108, 150, 52), "copies removed,\nlike ones retrieved")
    canvas.arrow([(95, 84), (95, 186)])
    canvas.arrow([(265, 160), (265, 186)])
    layer(canvas, Box(20, 188, 320, 40), "LVD-142M: 142 million pictures, no labels", "patch")
    canvas.arrow([(180, 228), (180, 252)])
    large = network(canvas, Box(90, 254, 180, 54), "teacher", "ViT-g", "pretrained, then frozen")
    canvas.text((20, 322), "distillation", size=SMALL, anchor="start", bold=True)
    for x, name in ((20, "ViT-S"), (130, "ViT-B"), (240, "ViT-L")):
        small = network(canvas, Box(x, 348, 100, 44), "student", name)
        canvas.arrow([(large.bottom[0] + 0.5 * (x - 130), large.bottom[1]), small.top], "teacher")
    canvas.text((180, 412), "their moving averages are released", size=SMALL)
    canvas.arrow([(180, 424), (180, 446)])
    layer(canvas, Box(20, 448, 320, 40), "positions for 518 pixels: a short last phase")
    canvas.arrow([(180, 488), (180, 512)])
    layer(canvas, Box(20, 514, 150, 52), "with registers\n(2023)", "register")
    layer(canvas, Box(190, 514, 150, 52), "DINOv3\n(2025)")
    return canvas.finish(
        "released",
        580,
        title="How the released models were made",
        alt="""A drawing from top to bottom. Curated sets, and pictures from the web from which copies are
            removed and like ones are retrieved, together make LVD-142M, 142 million pictures without labels. A
            ViT-g is pretrained on it and then frozen. As teacher it stands above three students, ViT-S, ViT-B
            and ViT-L: distillation. Their moving averages are released. A short last phase gives positions
            for 518 pixels. Below stand what followed: models with registers, in 2023, and DINOv3, in 2025.""",
    )
