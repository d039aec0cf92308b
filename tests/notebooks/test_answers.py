"""The book answers what its readers ask: a table of questions, and where in the book each answer stands.

A place is a page and words that must stand on it. Whoever rewrites an answer changes the words here as well, and
whoever deletes one is told. Places in a chapter that does not exist yet count for nothing.
"""

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

from dinov2_edu import shapes
from dinov2_edu.palette import PALETTE
from dinov2_edu.weights import ASSETS
from tools.address import slug_in_config

ROOT = Path(__file__).parents[2]
CHAPTERS = ("01_crops", "02_masking", "03_vit", "04_heads", "05_losses", "06_ema", "07_training")
CHAPTERS += ("08_cifar10_probe", "09_features", "10_scaling")
PAGES = sorted((ROOT / "book").glob("*.md"))

PAPER_AND_CODE = {
    "small models were distilled": [
        ("paper-versus-code", "were *distilled* from a frozen ViT-g"),
        ("07_training", "were *distilled* from a frozen ViT-g"),
        ("09_features", "*distilled* from ViT-g"),
    ],
    "the default config is not the recipe": [
        ("paper-versus-code", "That is not what was published. `vitl14.yaml` is nearer"),
        ("07_training", "is not the published recipe; `vitl14.yaml` is nearer"),
        ("04_heads", "it sets the bottleneck to 384 in its DINO section only"),
    ],
    "the blur is inverted": [
        ("paper-versus-code", "crop 1 is never blurred and crop 2 nine times in ten"),
        ("01_crops", "## The blur that is turned round"),
    ],
    "the centre comes off before the softmax": [
        ("paper-versus-code", "the centre comes off *before* the softmax"),
        ("05_losses", "the centre is subtracted *inside*, from the logits"),
    ],
    "where KoLeo is applied, and its epsilon": [
        ("paper-versus-code", "on the backbone's class tokens *before* the head, with weight 0.1"),
        ("paper-versus-code", "In half precision that is 0, so two equal tokens give infinity"),
        ("05_losses", "the code applies it to both global crops"),
        ("05_losses", "the official $\\varepsilon = 10^{-8}$ is 0"),
    ],
    "which crops are masked, and where the mask token goes": [
        ("paper-versus-code", "Half of all global crops, `int(B * 0.5)`, have a mask"),
        ("paper-versus-code", "*before* the position is added"),
        ("paper-versus-code", "It comes from the *masked* crop"),
        ("02_masking", "Half of a batch's global crops"),
        ("02_masking", "## The mask token goes in before the position"),
    ],
    "never more patches than asked, often fewer": [
        ("paper-versus-code", "never masks more than was asked and often a little less"),
        ("02_masking", "Never more than asked"),
    ],
    "which pairs of views are matched": [
        ("paper-versus-code", "the sum is divided by 2 + 16 = 18"),
        ("01_crops", "$2 + 2 \\cdot 8 = 18$ pairs"),
        ("05_losses", "the sum is divided by all 18"),
    ],
    "over what iBOT averages": [
        ("paper-versus-code", "then over *all* images, unmasked ones included"),
        ("05_losses", "then over all images of the batch, those without any mask included"),
    ],
    "B, nc, w, h and drop_path2": [
        ("paper-versus-code", "`B, nc, w, h` although tensors are batch, channels, height, width"),
        ("paper-versus-code", "makes a `drop_path2` and never uses it"),
        ("01_crops", "`B, nc, w, h = x.shape`"),
        ("03_vit", "`drop_path2` is never used"),
    ],
    "xFormers, CUDA and all_reduce": [
        ("paper-versus-code", "`AssertionError: xFormers is required for training`"),
        ("05_losses", "calls `dist.all_reduce` without asking whether there is a process group"),
        ("07_training", "The official step needs xFormers and CUDA"),
    ],
    "the prototypes' gain; odd sizes": [
        ("paper-versus-code", "`weight_g` starts at 1 and stays trainable"),
        ("paper-versus-code", "`patch_embed.py` asserts; nothing is cropped"),
        ("06_ema", "it *starts* at 1 and stays trainable"),
        ("04_heads", "starts them at 1 and leaves them **trainable**"),
        ("03_vit", "Nothing crops it: `patch_embed.py` asserts"),
    ],
    "the optimisation in numbers": [
        (
            "paper-versus-code",
            "weight decay 0.04 to 0.4; momentum 0.992 to 1; teacher temperature 0.04 to 0.07",
        ),
        (
            "06_ema",
            "The learning rate is 0.004 for 1,024 images and scales with the *square root* of the batch",
        ),
    ],
    "the popular recipe for attention maps": [
        ("paper-versus-code", "That is not attention: on random input 39 % of its entries are negative"),
        ("03_vit", "A share cannot be negative"),
    ],
    "reading a log": [
        ("paper-versus-code", "local 9.86, global 1.23, iBOT 2.77, together 13.86"),
        ("05_losses", "9.86, 1.23, 2.77, together 13.86"),
    ],
    "positions in transformers": [
        ("paper-versus-code", "at every size but 518 its features differ a little from the official ones"),
        ("03_vit", "`Dinov2Model`"),
    ],
}
"""Where paper, official code and released models differ."""

FAULTS = {
    "save_path": [
        ("paper-versus-code", "a parameter that the function lacks"),
        ("08_cifar10_probe", "with a parameter that the function lacks, and nothing is ever saved"),
    ],
    "randint": [
        ("paper-versus-code", "`random.randint(0, len(testset))`"),
        ("08_cifar10_probe", "`random.randint(0, len(testset))` can run one past the end"),
    ],
    "CIFAR's statistics": [
        ("paper-versus-code", "DINOv2 was trained with ImageNet's"),
        ("01_crops", "CIFAR-10's statistics"),
    ],
    "needs 224": [
        ("paper-versus-code", '"DINOv2 requires 224x224."'),
        ("03_vit", '"DINOv2 requires 224x224" is a habit'),
    ],
    "bilinear": [
        ("paper-versus-code", "bicubic, shorter side 256, then the middle 224"),
        ("08_cifar10_probe", "Plain bilinear resize."),
    ],
    "cache by file name": [
        ("paper-versus-code", "Another model silently reads the old features"),
        ("08_cifar10_probe", "another model silently reads the old features"),
    ],
    "shuffle": [
        ("paper-versus-code", "A feature can no longer be traced to its image"),
        ("08_cifar10_probe", "`shuffle=True` while extracting loses the link"),
    ],
    "settings never used": [
        ("paper-versus-code", "Nothing reads them."),
        ("01_crops", "which nothing in it ever reads"),
    ],
    "C never validated": [
        ("paper-versus-code", "45 values of C on a held-out tenth"),
        ("08_cifar10_probe", "`C` is the default and never validated"),
    ],
    "unpinned hub code": [
        ("paper-versus-code", "Loads unpinned code from the hub"),
        ("08_cifar10_probe", "The hub code is not pinned to a version"),
    ],
    "SGD": [
        ("paper-versus-code", '"Standard SGD" for the student.'),
        ("06_ema", 'the student is updated with "standard SGD". It is not'),
    ],
}
"""What is wrong in the blog post's code."""

V1, V2, TRANSFORMERS = "facebookresearch/dino", "facebookresearch/dinov2", "huggingface/transformers"
READERS = {
    "normalise, and why 256 then 224": (
        {V2: (2, 86, 225)},
        [
            ("faq", "the first layer's weights were learnt on numbers made this way"),
            ("faq", "It is a habit from ImageNet evaluation, no need of the model"),
            ("01_crops", "the first layer's weights were *learnt* on numbers made this way"),
            ("01_crops", "It is ImageNet's habit, no need of the model"),
            ("08_cifar10_probe", "**Normalise with ImageNet's mean and deviation**"),
            ("08_cifar10_probe", "**Why 256 and then 224?**"),
        ],
    ),
    "pixels not scaled to 0 to 1": (
        {V2: (223,)},
        [
            ("faq", "First suspect: pixels that were never scaled to 0 to 1"),
            ("01_crops", "gained 10 to 15 points"),
        ],
    ),
    "needs 224": (
        {V2: (205, 118)},
        [
            ("faq", "Any height and width that are multiples of 14 will do"),
            ("03_vit", "## Does it need 224 pixels?"),
        ],
    ),
    "attention maps under xFormers": (
        {V2: (90, 177, 285, 294, 390)},
        [
            ("faq", "Compute it once more from queries and keys"),
            ("03_vit", "### The popular recipe for attention maps"),
        ],
    ),
    "registers before a grid": (
        {V2: (90,)},
        [
            ("faq", "Drop the registers before you reshape to a grid"),
            ("03_vit", "### Drop the registers before you reshape to a grid"),
        ],
    ),
    "PCA pictures": (
        {V2: (23, 45, 412, 292)},
        [
            ("faq", "The sign of a component is arbitrary"),
            ("09_features", "the sign of a direction is arbitrary"),
            ("09_features", "Fit all pictures together"),
        ],
    ),
    "class token against patch tokens": (
        {V2: (222,)},
        [
            ("faq", "Compare class tokens with class tokens and patches with patches"),
            ("09_features", "## Class token and patch tokens are not aligned"),
        ],
    ),
    "registers averaged in as patches": (
        {TRANSFORMERS: (37817,)},
        [
            ("faq", "Only if the registers were left out of it"),
            ("09_features", "## Registers are not patches"),
        ],
    ),
    "artefact patches": (
        {V2: (373, 419, 475, 308)},
        [
            ("faq", "look *before* the final LayerNorm"),
            ("09_features", "`norm=False`"),
        ],
    ),
    "flat loss": (
        {V2: (143, 298, 454, 479)},
        [("faq", "Do not judge by the sum"), ("07_training", "**The loss is flat.**")],
    ),
    "collapse at exactly ln K": (
        {V1: (43,), V2: (407,)},
        [
            ("faq", "8.3178 is ln 4096"),
            ("05_losses", "$\\ln 4096 = 8.3178$ is the same message from a smaller head"),
            ("07_training", "**The loss sits at exactly $\\ln K$.**"),
        ],
    ),
    "why centre, if a softmax is shift-invariant": (
        {V1: (32, 101)},
        [
            ("faq", "Because the centre is a *vector*"),
            ("05_losses", "The centre is not a number, it is a **vector**"),
        ],
    ),
    "KoLeo inf or NaN": (
        {V2: (314, 143, 492)},
        [
            ("faq", "In half precision the epsilon of 1e-8 is 0"),
            ("05_losses", "an infinite loss and then NaN"),
            ("07_training", "**The loss is inf or NaN.**"),
        ],
    ),
    "weights of the heads": (
        {V2: (164, 435, 344)},
        [
            ("faq", "Not released: the files hold the teacher's backbone only"),
            ("04_heads", "## The heads were never released"),
            ("07_training", "the heads were never released"),
        ],
    ),
    "code for distillation": (
        {V2: (114, 176, 417)},
        [
            ("faq", "Not in the repository. ViT-S, B and L were distilled"),
            ("07_training", "The code for distillation is not in the repository"),
        ],
    ),
    "the student's class token is from the masked crop": (
        {V2: (535,)},
        [
            ("faq", "Yes. The student gets masked global crops and whole local crops, in one forward pass"),
            ("02_masking", "## The student's class token has seen the holes"),
            ("07_training", "**Is the student's class token from the masked crop?** Yes"),
        ],
    ),
    "teacher or student": (
        {V1: (44, 274)},
        [
            ("faq", "The teacher. It is a mean of many students"),
            ("06_ema", "That is why the *teacher* is what is evaluated and kept"),
            ("07_training", "**Which network do I keep?** The teacher"),
        ],
    ),
    "warnings about xFormers": (
        {V2: (151, 3)},
        [("faq", "is a notice, not an error"), ("03_vit", "Both can be ignored")],
    ),
    "licence": ({V2: (128,)}, [("faq", "Code and weights of DINOv2 are under Apache-2.0")]),
}
"""What readers of DINOv2 trip over: the threads in which it was asked, and the answers."""

PLACES = {f"paper and code: {name}": places for name, places in PAPER_AND_CODE.items()}
PLACES |= {f"the post: {name}": places for name, places in FAULTS.items()}
PLACES |= {f"readers: {name}": places for name, (_, places) in READERS.items()}


def markdown(path: Path) -> str:
    """The Markdown of a page or notebook."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def in_one_line(text: str) -> str:
    """The text without line breaks and without the marks of a quote."""
    return " ".join(re.sub(r"^> ?", "", text, flags=re.MULTILINE).split())


def page(name: str) -> Path:
    """The file of a page, such as `faq`, or of a chapter, such as `01_crops`."""
    return ROOT / (f"notebooks/{name}.ipynb" if name in CHAPTERS else f"book/{name}.md")


def slugs(path: Path) -> set[str]:
    """The anchors of a page: its headings of levels 1 to 3, as GitHub and the book write them."""
    found = re.findall(r"^#{1,3} (.+)$", markdown(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("row", PLACES)
def test_the_answer_stands_where_it_should(row):
    places = PLACES[row]
    assert any(name not in CHAPTERS for name, _ in places), "a page around the chapters must answer as well"
    for name, words in places:
        if page(name).exists() or name not in CHAPTERS:
            assert words in in_one_line(markdown(page(name))), f"{page(name).name} no longer says: {words}"


@pytest.mark.parametrize("row", READERS)
def test_every_thread_is_linked(row):
    text = page("faq").read_text("utf-8")
    for repository, numbers in READERS[row][0].items():
        for number in numbers:
            assert f"#{number}](https://github.com/{repository}/issues/{number})" in text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_to_headings(path):
    """The strict build checks this too, but only after it has run every notebook."""
    broken = []
    for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", path.read_text("utf-8")):
        if not (target or anchor):
            continue
        to = (path.parent / target).resolve() if target else path
        if to.suffix == ".ipynb" and to.stem in CHAPTERS and not to.exists():
            continue
        if not to.exists() or (anchor and anchor not in slugs(to)):
            broken.append(f"{target}#{anchor}")
    assert not broken


def test_every_word_that_chapters_link_to_is_in_the_glossary():
    linked = {
        word
        for path in (ROOT / "notebooks").glob("*.ipynb")
        for word in re.findall(r"glossary\.md#([\w-]+)", markdown(path))
    }
    assert linked <= slugs(page("glossary"))


def test_every_test_that_is_named_is_there():
    """`test [share of blurred views](.../tests/test_crops.py)` names `test_share_of_blurred_views`."""
    address = f"https://github.com/{slug_in_config()}/blob/main/"
    named = re.findall(
        r"\[([^]]+)\]\(([^)]*/(tests/\w+\.py))\)", page("paper-versus-code").read_text("utf-8")
    )
    assert named
    for words, link, file in named:
        assert link == address + file
        assert f"def test_{words.replace(' ', '_')}(" in (ROOT / file).read_text("utf-8"), words


def test_every_difference_points_to_a_chapter():
    rows = re.findall(r"^\| (?!-|what).*\|$", page("paper-versus-code").read_text("utf-8"), re.MULTILINE)
    table, faults = rows[: -len(FAULTS)], rows[-len(FAULTS) :]
    assert len(table) >= len(PAPER_AND_CODE) and all("../notebooks/" in row for row in table)
    assert all("/tests/test_" in row or "../notebooks/" in row for row in faults)


def test_notation_has_every_axis_and_every_colour():
    text = page("notation").read_text("utf-8")
    for letter in re.findall(r"(?<=\s{4})([a-z])  \w", shapes.__doc__):
        assert f"\n| `{letter}` | " in text, letter
    for role in PALETTE:
        assert f"background:var(--edu-{role.replace('_', '-')})" in text and f"| {role} |" in text


def test_the_reference_has_every_module():
    text = page("api").read_text("utf-8")
    package = ROOT / "dinov2_edu"
    modules = {
        path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    for module in modules - {"__init__", "__main__"}:
        assert f"automodule:: dinov2_edu.{module}\n" in text and f"\n## {module}\n" in text, module
    for folder in ("plots", "widgets"):
        for path in (package / folder).glob("[a-z]*.py"):
            inner = path.stem in ("parts", "svg")  # the drawing kit of the diagrams, no one else's concern
            assert inner or f":: dinov2_edu.{folder}.{path.stem}" in text, path.stem


def test_widgets_in_the_reference_have_their_own_signature():
    """Sphinx would show that of the base class."""
    shown = re.findall(r"autoclass:: (\S+)\.(\w+)(\(.*\))", page("api").read_text("utf-8"))
    assert shown
    for module, name, text in shown:
        own = inspect.signature(getattr(importlib.import_module(module), name).__init__)
        bare = [one.replace(annotation=one.empty) for one in list(own.parameters.values())[1:]]
        assert text == str(inspect.Signature(bare)), name


def test_the_first_page_lists_the_chapters_and_is_honest_about_weights():
    text = page("index").read_text("utf-8")
    listed = re.findall(r"^\| \[\d\d [^]]+\]\(\.\./notebooks/(\w+)\.ipynb\)", text, re.MULTILINE)
    assert tuple(listed) == CHAPTERS
    ships_one = (ASSETS / "book.safetensors").exists()
    for name in ("index", "faq"):
        says_none = "This version ships no checkpoint" in in_one_line(markdown(page(name)))
        assert says_none != ships_one, f"{name}.md: say which weights there are"
