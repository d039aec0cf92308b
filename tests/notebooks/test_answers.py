"""The book answers what its readers ask: a table of questions, the pages that answer, and the facts of each answer.

The facts (numbers, names, terms) are held, not the sentences: an answer may be said anew, and not lost.
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
from dinov2_edu.widgets._base import BookWidget
from dinov2_edu.widgets.learns import SHOWS
from tools.address import slug_in_config

ROOT = Path(__file__).parents[2]
CHAPTERS = ("01_crops", "02_masking", "03_vit", "04_heads", "05_losses", "06_ema", "07_training")
CHAPTERS += ("08_cifar10_probe", "09_features", "10_scaling", "11_dense", "12_released", "13_own_pictures")
PAGES = sorted((ROOT / "book").glob("*.md"))

PAPER_AND_CODE = {
    "small models were distilled": {
        "paper-versus-code": ["ViT-S, B and L", "frozen ViT-g", "iBOT loss", "moving average of the student"],
        "faq": ["frozen ViT-g", "iBOT loss", "moving average of the student"],
        "07_training": ["distilled", "ViT-g"],
        "12_released": ["moving average of the student", "teaches nobody"],
        "09_features": ["distilled", "ViT-g"],
    },
    "three recipes, the default and the published": {
        "paper-versus-code": ["learning rate at 1,024 images", "0.004", "0.0002"],
        "04_heads": ["384", "DINO"],
    },
    "three evaluations, three protocols": {
        "paper-versus-code": ["logistic regression", "224", "256", "linear classifier and k-NN"],
        "08_cifar10_probe": ["log_regression.py", "linear.py", "knn.py"],
    },
    "published schedules": {"paper-versus-code": ["0.992 to 1", "0.994 to 1"]},
    "published weight decay": {"paper-versus-code": ["0.04 to 0.4", "0.04 to 0.2"]},
    "the blur is inverted": {
        "paper-versus-code": ["GaussianBlur", "1 - p", "RandomApply", "nine times in ten"],
        "01_crops": ["never", "blurred", "nine times in ten"],
    },
    "the centre is subtracted before the softmax": {
        "paper-versus-code": ["softmax((x - c) / tau)", "before"],
        "05_losses": ["centre", "logits", "inside"],
    },
    "where KoLeo is applied": {
        "paper-versus-code": ["KoLeo", "both global crops", "one GPU", "before", "0.1"],
        "05_losses": ["both global crops"],
    },
    "KoLeo's epsilon": {
        "paper-versus-code": ["1e-8", "float16", "infinity"],
        "05_losses": ["10^{-8}", "0"],
    },
    "which crops are masked": {
        "paper-versus-code": ["int(B * 0.5)", "10 to 50 %", "iBOT", "Local crops"],
        "02_masking": ["Half of a batch's global crops"],
    },
    "where the mask token goes": {
        "paper-versus-code": ["before", "position", "embedding"],
        "02_masking": ["mask token", "position", "after"],
    },
    "never more patches than asked, often fewer": {
        "paper-versus-code": ["7 to 10 %", "16 x 16"],
        "02_masking": ["Never more than asked"],
    },
    "which pairs of views are matched": {
        "paper-versus-code": ["other", "2 + 16 = 18"],
        "01_crops": ["18$ pairs"],
        "05_losses": ["18"],
    },
    "over what iBOT averages": {
        "paper-versus-code": ["masked patches", "all", "unmasked ones included"],
        "05_losses": ["all global crops of the batch"],
    },
    "height and width": {"paper-versus-code": ["B, nc, w, h"], "01_crops": ["B, nc, w, h = x.shape"]},
    "stochastic depth": {
        "paper-versus-code": ["forward_nested", "drop_path1", "drop_path2"],
        "03_vit": ["drop_path2"],
    },
    "xFormers, CUDA and all_reduce": {
        "paper-versus-code": ["xFormers is required for training", "dist.all_reduce"],
        "05_losses": ["dist.all_reduce"],
        "07_training": ["xFormers", "CUDA"],
    },
    "the prototypes' gain": {
        "paper-versus-code": ["weight_g", "norm_last_layer", "ViT-S"],
        "04_heads": ["trainable"],
    },
    "odd sizes": {
        "paper-versus-code": ["patch_embed.py", "asserts"],
        "03_vit": ["patch_embed.py", "asserts"],
    },
    "the popular recipe for attention maps": {
        "paper-versus-code": ["39 %", "negative", "softmax(q k^T / sqrt(d_head))"],
        "03_vit": ["negative"],
    },
    "reading a log": {
        "paper-versus-code": ["9.86", "1.23", "2.77", "13.86", "10.47", "1.31", "2.95", "14.73"],
        "faq": ["13.86", "65,536", "14.73", "131,072"],
        "05_losses": ["9.86", "1.23", "2.77", "13.86"],
    },
    "positions in transformers": {
        "paper-versus-code": ["Dinov2Model", "518"],
        "03_vit": ["Dinov2Model"],
    },
}
"""Where paper, official code and released models differ."""

FAULTS = {
    "save_path": {
        "paper-versus-code": ["save_path", "nothing is ever saved"],
        "08_cifar10_probe": ["save_path"],
    },
    "randint": {
        "paper-versus-code": ["random.randint(0, len(testset))"],
        "08_cifar10_probe": ["random.randint(0, len(testset))"],
    },
    "CIFAR's statistics": {
        "paper-versus-code": ["CIFAR-10's mean", "ImageNet's", "0.485"],
        "01_crops": ["CIFAR-10's"],
    },
    "needs 224": {"paper-versus-code": ["224 x 224", "multiple of 14"], "03_vit": ["224x224", "518"]},
    "bilinear": {
        "paper-versus-code": ["bilinear", "logistic regression", "bicubic", "224", "256"],
        "08_cifar10_probe": ["bilinear"],
    },
    "cache by file name": {
        "paper-versus-code": ["Another model", "old features"],
        "08_cifar10_probe": ["old features"],
    },
    "shuffle": {"paper-versus-code": ["shuffle=True"], "08_cifar10_probe": ["shuffle=True"]},
    "settings never used": {"paper-versus-code": ["SEED", "Nothing reads them"], "01_crops": ["In the post"]},
    "C never validated": {
        "paper-versus-code": ["45 values of C", "held-out tenth"],
        "08_cifar10_probe": ["validated"],
    },
    "unpinned hub code": {"paper-versus-code": ["unpinned", "hub"], "08_cifar10_probe": ["hub", "version"]},
    "SGD": {"paper-versus-code": ["standard SGD", "AdamW"], "06_ema": ["standard SGD"]},
}
"""What is wrong in the blog post's code."""

V1, V2, TRANSFORMERS = "facebookresearch/dino", "facebookresearch/dinov2", "huggingface/transformers"
READERS = {
    "normalise": (
        {V2: (2, 86, 225)},
        {
            "faq": ["0 to 1", "0.485", "0.229", "first layer"],
            "01_crops": ["first layer", "learnt"],
            "08_cifar10_probe": ["ImageNet's mean"],
        },
    ),
    "why 256 and then 224": (
        {V2: (225,)},
        {
            "faq": ["linear.py", "knn.py", "256", "log_regression.py", "224"],
            "01_crops": ["256", "224"],
            "08_cifar10_probe": ["256", "224"],
        },
    ),
    "pixels not scaled to 0 to 1": (
        {V2: (223,)},
        {"faq": ["10 to 15 points", "PIL images", "float tensors"], "01_crops": ["10 to 15 points"]},
    ),
    "needs 224": ({V2: (205, 118)}, {"faq": ["multiples of 14", "518"], "03_vit": ["224"]}),
    "attention maps under xFormers": (
        {V2: (90, 177, 285, 294, 390)},
        {"faq": ["softmax(q k^T / sqrt(d_head))", "attention_maps"], "03_vit": ["softmax"]},
    ),
    "registers before a grid": (
        {V2: (90,)},
        {"faq": ["Drop the registers", "n_prefix_tokens"], "03_vit": ["registers", "grid"]},
    ),
    "PCA pictures": (
        {V2: (23, 45, 412, 292)},
        {"faq": ["two passes", "sign", "several"], "09_features": ["sign", "arbitrary"]},
    ),
    "class token against patch tokens": (
        {V2: (222,)},
        {"faq": ["never compared"], "09_features": ["not aligned"]},
    ),
    "registers averaged in as patches": (
        {TRANSFORMERS: (37817,)},
        {"faq": ["patch_mean", "registers"], "09_features": ["Registers are not patches"]},
    ),
    "artefact patches": (
        {V2: (373, 419, 475, 308)},
        {"faq": ["norm=False", "LayerNorm"], "09_features": ["norm=False"]},
    ),
    "flat loss": (
        {V2: (143, 298, 454, 479)},
        {"faq": ["entropy", "teacher's temperature", "prototypes"], "07_training": ["flat"]},
    ),
    "collapse at exactly ln K": (
        {V1: (43,), V2: (407,)},
        {"faq": ["8.3178", "11.0904"], "05_losses": ["8.3178"], "07_training": ["\\ln K"]},
    ),
    "why centre, if a softmax is shift-invariant": (
        {V1: (32, 101)},
        {"faq": ["centre", "vector"], "05_losses": ["centre", "vector"]},
    ),
    "KoLeo inf or NaN": (
        {V2: (314, 143, 492)},
        {
            "faq": ["1e-8", "float32", "duplicate"],
            "05_losses": ["infinite", "NaN"],
            "07_training": ["inf or NaN"],
        },
    ),
    "weights of the heads": (
        {V2: (164, 435, 344)},
        {"faq": ["Not released"], "04_heads": ["never released"], "07_training": ["never released"]},
    ),
    "code for distillation": (
        {V2: (114, 176, 417)},
        {
            "faq": ["Not in the repository", "22,000"],
            "07_training": ["distillation", "not in the repository"],
            "12_released": ["no code for distillation", "#114", "#176", "#417"],
        },
    ),
    "the student's class token is from the masked crop": (
        {V2: (535,)},
        {
            "faq": ["one forward pass", "masked global crops"],
            "02_masking": ["#535"],
            "07_training": ["student's class token"],
        },
    ),
    "teacher or student": (
        {V1: (44, 274)},
        {
            "faq": ["The teacher", "mean of many students"],
            "06_ema": ["teacher", "kept"],
            "07_training": ["teacher"],
        },
    ),
    "warnings about xFormers": (
        {V2: (151, 3)},
        {"faq": ["XFORMERS_DISABLED"], "03_vit": ["xFormers"]},
    ),
    "licence": ({V2: (128,)}, {"faq": ["Apache-2.0", "CC-BY-NC"]}),
}
"""What readers of DINOv2 trip over: the threads in which it was asked, and the answers."""

PLACES = {f"paper and code: {name}": places for name, places in PAPER_AND_CODE.items()}
PLACES |= {f"the post: {name}": places for name, places in FAULTS.items()}
PLACES |= {f"readers: {name}": places for name, (_, places) in READERS.items()}

NOT_SAID = {
    r"no iBOT head as in pretraining": "the paper applies the iBOT loss in distillation",
    r"DINO( v1)? froze": "an option of DINO, off for its ViT-S",
    r"thousand millions": "say GFLOP/s or a number",
    r"so-manieth": "no English word",
    r"the teacher always gives the better": "the code shows when, not always",
    r"a difference smaller than they are wide": "overlapping intervals compare no two probes on one set of pictures",
    r"not an idea but an amount": "data, a phase at high resolution and distillation set the models apart",
    r"both pagodas the same colours": "in the random network's PCA most of the second pagoda is left blank",
    r"against colour proves nothing": "nor does a low R2 prove that a component means something",
    r"flat cut": "say linear classifier",
    r"must look across processes": "KoLeo looks at one GPU's rows alone, in the official code and here",
}
"""Words that were on a page and were wrong or hard to read, and why they must not come back."""


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


def blocks(text: str) -> list[str]:
    """A page in the pieces that one reads at once: paragraphs, list items, quotes, headings, rows of a table."""
    pieces = re.split(r"\n\s*\n|\n(?=\||- |> - )|\n>\s*\n", text)
    return [in_one_line(piece).replace("**", "").replace("*", "").replace("`", "") for piece in pieces]


@pytest.mark.parametrize("row", PLACES)
def test_the_answer_stands_where_it_should(row):
    """All facts of an answer stand in one block of the page; how they are worded is the page's own affair."""
    places = PLACES[row]
    assert any(name not in CHAPTERS for name in places), "a page around the chapters must answer as well"
    for name, facts in places.items():
        wanted = [fact.replace("*", "").lower() for fact in facts]
        found = [
            block for block in blocks(markdown(page(name))) if all(fact in block.lower() for fact in wanted)
        ]
        assert found, f"{page(name).name}: no paragraph has all of {facts}"


@pytest.mark.parametrize(
    "path", [*PAGES, *sorted((ROOT / "notebooks").glob("*.ipynb"))], ids=lambda path: path.stem
)
def test_what_was_wrong_is_not_said_again(path):
    said = in_one_line(markdown(path))
    assert not [words for words in NOT_SAID if re.search(words, said)]


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
    text = page("paper-versus-code").read_text("utf-8")
    text = text[: text.index("## Three recipes")] + text[text.index("## Faults in") :]
    rows = re.findall(r"^\| (?!-|what).*\|$", text, re.MULTILINE)
    table, faults = rows[: -len(FAULTS)], rows[-len(FAULTS) :]
    assert len(table) >= 18 and all("../notebooks/" in row for row in table)
    assert all("/tests/test_" in row or "../notebooks/" in row for row in faults)


def test_notation_has_every_axis_and_every_colour():
    text = page("notation").read_text("utf-8")
    for letter in re.findall(r"(?<=\s{4})([a-z])  \w", shapes.__doc__):
        assert f"\n| `{letter}` | " in text, letter
    for role in PALETTE:
        assert f"background:var(--edu-{role.replace('_', '-')})" in text and f"| {role} |" in text


def reference():
    """All pages of the reference: the index and a page a room."""
    return "\n".join(
        path.read_text("utf-8") for path in [page("api"), *sorted((ROOT / "book" / "api").glob("*.md"))]
    )


def test_the_reference_has_every_module():
    text = reference()
    package = ROOT / "dinov2_edu"
    modules = {
        path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    for module in modules - {"__init__", "__main__"}:
        assert f"automodule:: dinov2_edu.{module}\n" in text and f"[{module}](api/{module}.md)" in text, (
            module
        )
    for folder in ("plots", "widgets"):
        for path in (package / folder).glob("[a-z]*.py"):
            inner = path.stem in ("parts", "svg")  # the drawing kit of the diagrams, no one else's concern
            assert inner or f":: dinov2_edu.{folder}.{path.stem}" in text, path.stem


def test_widgets_in_the_reference_have_their_own_signature():
    """Sphinx would show that of the base class. What a constructor hands on to `BookWidget` is written out."""
    shown = re.findall(r"autoclass:: (\S+)\.(\w+)(\(.*\))", reference())
    assert shown
    handed_on = list(inspect.signature(BookWidget.__init__).parameters.values())[1:]  # still, alt, values
    source = inspect.Parameter("source", inspect.Parameter.KEYWORD_ONLY, default="")
    for module, name, text in shown:
        control = getattr(importlib.import_module(module), name)
        own = list(inspect.signature(control.__init__).parameters.values())[1:]
        if control.__init__ is not BookWidget.__init__:
            own = [*own[:-1], *([source] if "source" in control.class_trait_names() else []), *handed_on]
        bare = str(inspect.Signature([one.replace(annotation=one.empty) for one in own]))
        assert text == bare.replace(str(SHOWS), "SHOWS"), name


def test_the_first_page_lists_the_chapters_and_is_honest_about_weights():
    text = page("index").read_text("utf-8")
    listed = re.findall(r"^\| \[\d\d [^]]+\]\(\.\./notebooks/(\w+)\.ipynb\)", text, re.MULTILINE)
    assert tuple(listed) == CHAPTERS
    ships_one = (ASSETS / "book.safetensors").exists()
    for name in ("index", "faq"):
        says_none = "This version ships no checkpoint" in in_one_line(markdown(page(name)))
        assert says_none != ships_one, f"{name}.md: say which weights there are"
