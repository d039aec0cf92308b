"""Made-up data for the widgets' tests, seeded and smooth like a model's, and a few moves of a reader."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from dinov2_edu.widgets.attention import AttentionWidget
from dinov2_edu.widgets.mistakes import MistakesWidget
from dinov2_edu.widgets.prototypes import PrototypesWidget
from dinov2_edu.widgets.runs import RunsWidget
from dinov2_edu.widgets.your_picture import YourPictureWidget


def photo(seed: int, size: int = 224) -> Image.Image:
    """A soft landscape: a sky, and a bright round thing on it."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    sky = np.stack([0.35 + 0.3 * y, 0.5 + 0.2 * y, 0.8 - 0.4 * y], axis=-1)
    disc = 1 / (1 + np.exp(60 * (np.hypot(x - draw.uniform(0.3, 0.7), y - draw.uniform(0.3, 0.7)) - 0.22)))
    grain = draw.normal(0, 0.02, (size, size, 1))
    picture = sky * (1 - disc[..., None]) + draw.uniform(0.4, 1, 3) * disc[..., None] + grain
    return Image.fromarray((255 * picture.clip(0, 1)).astype(np.uint8))


def attention(heads: int, grid: tuple[int, int], n_registers: int, seed: int) -> np.ndarray:
    """Softmaxed attention `h t t`: each head looks at what is near, at some offset of its own."""
    draw = np.random.default_rng(seed)
    rows, cols = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    places = np.stack([rows, cols], axis=1)
    prefix = 1 + n_registers
    scores = draw.normal(0, 0.3, (heads, prefix + len(places), prefix + len(places)))
    for head in range(heads):
        target = places + draw.normal(0, 2.5, 2)
        apart = ((places[None] - target[:, None]) ** 2).sum(-1)
        scores[head, prefix:, prefix:] += 4 * np.exp(-apart / draw.uniform(6, 40))
        centre = draw.uniform(0.2, 0.8, 2) * grid
        scores[head, :prefix, prefix:] += 4 * np.exp(-((places - centre) ** 2).sum(-1) / 20)
    weights = np.exp(scores)
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def attention_widget(
    *, grid: tuple[int, int] = (16, 16), n_registers: int = 4, n_layers: int = 3, **more
) -> AttentionWidget:
    layers = {f"block {4 * i + 4}": attention(6, grid, n_registers, i) for i in range(n_layers)}
    picture = photo(0).crop((0, 0, 14 * grid[1], 14 * grid[0]))
    return AttentionWidget(
        picture, layers, grid=grid, n_registers=n_registers, source="Made-up attention.", **more
    )


def run(name: str, entropy_end: float, *, diagnosis: str, seed: int, n_steps: int = 60) -> dict:
    draw = np.random.default_rng(seed)
    step = np.arange(n_steps) * 10
    way = 1 - np.exp(-step / 150)
    top = np.log(256)
    entropy = top + (entropy_end - top) * way + draw.normal(0, 0.03, n_steps)
    history = {
        "step": step.tolist(),
        "loss": (6 - 2.5 * way + draw.normal(0, 0.08, n_steps)).tolist(),
        "koleo": (0.1 - 0.12 * way).tolist(),
        "target_entropy": entropy.tolist(),
        "feature_spread": (0.1 + 0.6 * way * entropy_end / top).tolist(),
        "knn_step": [0, 200, 400, 590],
        "knn": [0.12, 0.2, 0.3, 0.35] if 1 < entropy_end < 5 else [0.12, 0.11, 0.1, 0.1],
    }
    return {"name": name, "diagnosis": diagnosis, "history": history}


def runs() -> list[dict]:
    diverged = run("lr too high", 3.0, diagnosis="The loss is no longer a finite number.", seed=3)
    diverged["history"]["loss"][40:] = [float("nan")] * 20
    return [
        run("healthy", 3.2, diagnosis="Targets differ from image to image.", seed=0),
        run(
            "no sharpening", float(np.log(256)), diagnosis="Every target is the uniform distribution.", seed=1
        ),
        run("no centring", 0.05, diagnosis="Every image is sent to one prototype.", seed=2),
        diverged,
    ]


def runs_widget(**more) -> RunsWidget:
    return RunsWidget(runs(), n_prototypes=256, source="Made-up runs.", **more)


def labelled(n: int, seed: int, classes: tuple[str, ...]) -> SimpleNamespace:
    """Pictures of 32 x 32 whose hue says their class."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, len(classes), n)
    y, x = np.mgrid[0:32, 0:32] / 32
    hue = 2 * np.pi * (labels[:, None] / len(classes) + np.array([0, 1 / 3, 2 / 3])[None])
    waves = np.sin(
        6 * np.pi * (x[None] * draw.uniform(0, 1, (n, 1, 1)) + y[None] * draw.uniform(0, 1, (n, 1, 1)))
    )
    images = 128 + 80 * np.cos(hue)[:, :, None, None] + 40 * waves[:, None]
    return SimpleNamespace(images=images.clip(0, 255).astype(np.uint8), labels=labels, class_names=classes)


CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def mistakes_widget(**more) -> MistakesWidget:
    draw = np.random.default_rng(5)
    test, train = labelled(1500, 1, CLASSES), labelled(400, 2, CLASSES)
    scores = draw.normal(0, 1.0, (1500, 10))
    scores[np.arange(1500), test.labels] += 3.2
    scores[test.labels == 3, 5] += 2.2
    probs = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    neighbours = np.stack([draw.permutation(400)[:3] for _ in range(1500)])
    similarities = -np.sort(-draw.uniform(0.5, 0.95, (1500, 3)), axis=1)
    return MistakesWidget(
        test,
        probs,
        train=train,
        neighbours=neighbours,
        similarities=similarities,
        source="Made-up pictures.",
        **more,
    )


def your_picture_widget(**more) -> YourPictureWidget:
    return YourPictureWidget({f"disc {i}": photo(i) for i in range(3)}, source="Made-up pictures.", **more)


def prototypes_widget(**more) -> PrototypesWidget:
    """A few kinds of pictures and their patches, as points of different lengths."""
    draw = np.random.default_rng(0)
    kinds, patch_kinds = draw.normal(size=(4, 3)), draw.normal(size=(5, 3))

    def cloud(centres: np.ndarray, each: int, spread: float) -> np.ndarray:
        directions = centres / np.linalg.norm(centres, axis=1, keepdims=True)
        rows = np.repeat(directions, each, axis=0) + spread * draw.normal(size=(len(centres) * each, 3))
        lengths = np.exp(0.35 * draw.normal(size=len(rows))).clip(0.4, 1.5)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) * lengths[:, None]

    return PrototypesWidget(
        cls_points=cloud(kinds, 6, 0.16), patch_points=cloud(kinds + 0.6 * patch_kinds[:4], 8, 0.4),
        prototypes=draw.normal(size=(12, 3)), ibot_points=cloud(patch_kinds[:4], 8, 0.3),
        ibot_prototypes=draw.normal(size=(12, 3)), source="Made-up points.", **more,
    )  # fmt: skip


def point(mounted, x: float, y: float, *, canvas: int = 0) -> None:
    """Move the mouse to a place on a canvas, in shares of its width and height."""
    place = mounted.root.locator("canvas").nth(canvas)
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    mounted.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


def switch_theme(mounted) -> None:
    """Turn the page dark, or light again, as the book's theme button does."""
    mounted.page.evaluate(
        """() => {
            const { dataset } = document.documentElement;
            dataset.theme = dataset.theme === "dark" ? "light" : "dark";
        }"""
    )
    mounted.settle()


def violations(mounted) -> list[str]:
    """What axe finds wrong with the page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(mounted.page).response["violations"]
    return [f"{rule['id']}: {node['html'][:150]}" for rule in found for node in rule["nodes"]]
