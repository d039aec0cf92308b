"""`checked` decides as jaxtyping with beartype does, says in a sentence what is wrong, and leaves graphs alone."""

import inspect
import itertools
import math
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jaxtyping
import numpy as np
import pytest
import torch
from beartype.door import is_bearable
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from dinov2_edu.checks import checked, describe
from dinov2_edu.heads import ProjectionHead
from dinov2_edu.losses import koleo_loss
from dinov2_edu.vit import VisionTransformer, ViTConfig

TINY = ViTConfig(img_size=56, width=24, depth=3, heads=2, layer_scale=1.0)

# Its decisions, held to another checker

Listed = Float[Tensor, "b 3 _ side"] | Sequence[UInt8[Tensor, "b c"]]
Pair = tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]
FLOAT, INT, BOOL, BYTE = torch.float32, torch.int64, torch.bool, torch.uint8


def two(a: Float[Tensor, "m k"], b: Float[Tensor, "m k"] | None = None) -> None: ...
def three(a: Float[Tensor, "*batch k"], b: Int[Tensor, " k"], c: Bool[Tensor, "k k"]) -> None: ...
def rest(a: Float[Tensor, "*batch k"], b: Float[Tensor, "*batch k"], c: Float[Tensor, "... k"]) -> None: ...
def either(a: Listed, b: Float[Tensor, "side"]) -> None: ...
def some(a: Listed, b: UInt8[Tensor, "c b"]) -> None: ...
def paired(a: Pair, b: Float[Tensor, "... d"]) -> None: ...
def numbered(a: Float[np.ndarray, " n"], b: Bool[np.ndarray, "n 2"] | None) -> None: ...


FITTING = {  # dtype and shape; a list or a pair of them
    two: [(FLOAT, (2, 3)), (FLOAT, (2, 3))],
    three: [(FLOAT, (1, 2, 3)), (INT, (3,)), (BOOL, (3, 3))],
    rest: [(FLOAT, (1, 2, 3)), (FLOAT, (1, 2, 3)), (FLOAT, (3,))],
    either: [(FLOAT, (2, 3, 1, 2)), (FLOAT, (2,))],
    some: [[(BYTE, (2, 3))], (BYTE, (3, 2))],  # one item: of several beartype looks at a random one
    paired: [((FLOAT, (2, 3)), (INT, (2,))), (FLOAT, (1, 3))],
    numbered: [(FLOAT, (2,)), (BOOL, (2, 2))],
}


@pytest.mark.parametrize("function", FITTING, ids=lambda one: one.__name__)
def test_tensors_pass_and_fail_as_with_jaxtyping_and_beartype(function):
    draw, ours, verdicts = random.Random(0), checked(function), {True: 0, False: 0}
    hints = [one.annotation for one in inspect.signature(function).parameters.values()]

    def made(recipe: Any) -> Any:
        if isinstance(recipe[0], (tuple, list)):
            return type(recipe)(made(one) for one in recipe)
        (dtype, shape), change = recipe, draw.randrange(12)
        if change == 0:
            return draw.choice((None, 3, "photo.jpg", [1.0]))
        if change == 1:
            dtype = draw.choice((FLOAT, torch.bfloat16, torch.float64, INT, torch.int32, BOOL, BYTE))
        if change == 2:
            shape = draw.choice((shape[1:], (1, *shape), shape[::-1], (*shape, 2)))
        if change == 3:
            shape = tuple(draw.choice((length, 1, 2, 3)) for length in shape)
        tensor = torch.zeros(shape, dtype=dtype)
        return tensor.numpy() if function is numbered and dtype != torch.bfloat16 else tensor

    for _ in range(1500):
        arguments = [made(recipe) for recipe in FITTING[function]]
        with jaxtyping.jaxtyped("context"):
            wanted = all(is_bearable(*pair) for pair in zip(arguments, hints, strict=True))
        try:
            passed = ours(*arguments) is None
        except ValueError:
            passed = False
        assert passed == wanted, [describe(argument) for argument in arguments]
        verdicts[passed] += 1
    assert min(verdicts.values()) >= 200  # both happened


# Its sentences


@checked
def call(
    whole: int = 1,
    real: float = 1.0,
    *,
    flag: bool = False,
    name: str = "",
    way: Literal["one", "other"] = "one",
    grid: tuple[int, int] = (1, 1),
    shares: tuple[float, ...] = (),
    size: int | tuple[int, int] = 1,
    levels: dict[str, float] | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    act: Callable[[int], int] = abs,
    generator: torch.Generator | None = None,
    model: nn.Module | None = None,
    picture: Image.Image | None = None,
    tokens: Float[Tensor, "b n d"] | None = None,
    masks: Bool[Tensor, "b n"] | None = None,
    photo: Float[Tensor, "b c height width"] | UInt8[Tensor, "b c height width"] | None = None,
    anything: Any = None,
    **others: Any,
) -> None: ...


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("whole", 1.0, "whole: wanted a whole number, got 1.0 (float)"),
        ("whole", True, "whole: wanted a whole number, got True (bool)"),
        ("whole", None, "whole: wanted a whole number, got None (NoneType)"),
        ("real", math.nan, "real: wanted a finite number, got nan (float)"),
        ("real", -math.inf, "real: wanted a finite number, got -inf (float)"),
        ("real", "0.1", "real: wanted a finite number, got '0.1' (str)"),
        ("real", False, "real: wanted a finite number, got False (bool)"),
        ("flag", 1, "flag: wanted True or False, got 1 (int)"),
        ("name", b"a", "name: wanted a string, got b'a' (bytes)"),
        ("way", "third", "way: wanted 'one' or 'other', got 'third' (str)"),
        ("grid", 4, "grid: wanted 2 whole numbers, got 4 (int)"),
        ("grid", (4, 4, 4), "grid: wanted 2 whole numbers, got (4, 4, 4) (tuple)"),
        ("grid", (4, math.nan), "grid: wanted 2 whole numbers, got (4, nan) (tuple)"),
        (
            "shares",
            (0.1, 0.2, math.nan),
            "shares: wanted a tuple of finite numbers, got (0.1, 0.2, nan) (tuple)",
        ),
        ("size", 1.5, "size: wanted a whole number or 2 whole numbers, got 1.5 (float)"),
        (
            "levels",
            {"a": "b"},
            "levels: wanted a dictionary from strings to finite numbers or None, got {'a': 'b'} (dict)",
        ),
        (
            "history",
            {"loss": 3.0},
            "history: wanted a dictionary from strings to list of finite numbers each or None",
        ),
        ("act", 3, "act: wanted a function, got 3 (int)"),
        (
            "generator",
            0,
            "generator: wanted a torch.Generator or None, got 0 (int): use torch.Generator().manual_seed(0)",
        ),
        ("model", nn.Linear, "model: wanted a torch.nn.Module or None, got Linear (type)"),
        ("picture", "a.jpg", "picture: wanted a PIL picture or None, got 'a.jpg' (str)"),
        (
            "tokens",
            [[1.0]],
            "tensor of shape (b: images, n, d: width) or None, got [[1.0]] (list): use torch.as_tensor",
        ),
        ("tokens", torch.zeros(2, 3, 4).int(), "got an int32 tensor of shape (2, 3, 4): use .float()"),
        (
            "masks",
            torch.zeros(2, 3),
            "(b: images, n), True = masked or None, got a float32 tensor of shape (2, 3): use .bool()",
        ),
        ("photo", torch.zeros(3, 8, 8), ": add the batch axis with images[None]"),
    ],
)
def test_what_is_given_and_what_is_wanted_is_said(name, value, sentence):
    with pytest.raises(ValueError) as error:
        call(**{name: value})
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_axes_that_disagree_are_named_with_the_argument_that_set_them():
    with pytest.raises(
        ValueError, match=r"masks: .* with n = 3 as in tokens, got a bool tensor of shape \(2, 4\)"
    ):
        call(tokens=torch.zeros(2, 3, 4), masks=torch.zeros(2, 4).bool())
    with pytest.raises(ValueError, match=r"tokens: .* with b = 5 as in masks, got a float32 tensor"):
        call(
            masks=torch.zeros(5, 3).bool(), tokens=torch.zeros(2, 3, 4)
        )  # in the order in which they are given


def test_what_is_meant_passes():
    call(np.int64(3), np.float32(0.5), flag=np.True_, grid=[2, 3], shares=[1, 2.5], size=torch.Size([2, 2]))
    call(
        1,
        3,
        levels={"a": 1},
        history={"loss": [1.0]},
        model=nn.Linear(1, 1),
        act=call,
        anything=object(),
        more=1,
    )
    with pytest.raises(TypeError, match="positional"):
        call(1, 2.0, 3)


@pytest.mark.parametrize(
    "value",
    [
        list(range(50_000)),
        "a" * 100_000,
        {i: i for i in range(9999)},
        torch.zeros(9, 9),
        np.zeros((99, 99)),
        nn.Linear(9, 9),
        [torch.zeros(1)] * 999,
        10**500,
        lambda: 3,
        object(),
        [["a" * 999] * 99] * 99,
    ],
)
def test_a_description_is_short(value):
    assert 3 < len(describe(value)) <= 160


def test_a_constructor_is_held_to_its_annotations_too():
    @checked
    @dataclass(frozen=True)
    class Setting:
        sides: tuple[int, int]
        share: float = 0.5

    assert Setting((1, 2)) == Setting(sides=(1, 2), share=0.5)
    with pytest.raises(ValueError, match="share: wanted a finite number, got nan"):
        Setting((1, 2), math.nan)


def test_axes_that_cannot_be_read_are_an_error_at_once():
    with pytest.raises(TypeError, match="cannot read the axes"):

        @checked
        def sums(a: Float[Tensor, "n+1"]) -> None: ...


# It is not seen


def test_source_name_and_pickle_are_the_function_s():
    assert inspect.getsource(koleo_loss).startswith("@checked\ndef koleo_loss(features")
    assert koleo_loss.__doc__.startswith("Return the KoLeo loss") and koleo_loss.__name__ == "koleo_loss"
    assert list(inspect.signature(koleo_loss).parameters) == ["features", "eps"]
    assert pickle.loads(pickle.dumps(koleo_loss)) is koleo_loss


def small(**changes: Any) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(ViTConfig(**{**vars(TINY), **changes}))


@pytest.fixture
def own_checks_alone():
    """Switch the tests' own check of every call off: it is no part of the package, and graphs cannot hold it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("own_checks_alone")
@pytest.mark.parametrize("offset", [0.1, 0.0])
def test_the_backbone_is_exported_with_a_dynamic_size(offset):
    model = small(interpolate_offset=offset, interpolate_antialias=not offset).eval()
    rows = torch.export.Dim("rows", min=2, max=30)
    images = torch.randn(1, 3, 28, 42)
    program = torch.export.export(model, (images,), dynamic_shapes={"images": {2: 14 * rows}}).module()
    for height in (28, 70, 140):
        images = torch.randn(1, 3, height, 42)
        for ours, theirs in zip(model(images), program(images), strict=True):
            torch.testing.assert_close(theirs, ours, atol=2e-5, rtol=1e-4)


@pytest.mark.usefixtures("own_checks_alone")
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning"
)
@pytest.mark.parametrize("side", [56, 28, 98])
@pytest.mark.parametrize("offset", [0.1, 0.0])
def test_the_backbone_is_traced_at_any_size(side, offset):
    model = small(interpolate_offset=offset, interpolate_antialias=not offset).eval()
    traced = torch.jit.trace(model, torch.randn(1, 3, side, side))
    images = torch.randn(2, 3, side, side)
    for ours, theirs in zip(model(images), traced(images), strict=True):
        torch.testing.assert_close(theirs, ours, atol=2e-5, rtol=1e-4)


@pytest.mark.usefixtures("own_checks_alone")
def test_a_compiled_call_is_checked_by_nothing_and_gives_the_same():
    features = torch.randn(6, 8)
    compiled = torch.compile(koleo_loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(features), koleo_loss(features))
    head = ProjectionHead(8, 5, hidden_dim=8, bottleneck_dim=4)
    torch.testing.assert_close(torch.compile(head, backend="eager", fullgraph=True)(features), head(features))


# Gradient checkpointing


def gradient(model: VisionTransformer, run: Callable[[torch.Generator], Tensor]) -> Tensor:
    model.zero_grad()
    torch.manual_seed(1)
    run(torch.Generator().manual_seed(3)).pow(3).sum().backward()
    return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_block_keeps_the_same_images_again(reentrant):
    model = small(drop_path=0.5).train()
    images = torch.randn(8, 3, 56, 56)

    def each_block(generator: torch.Generator) -> Tensor:
        tokens = model.embed(images)
        for block in model.blocks:
            tokens = checkpoint(block, tokens, generator, use_reentrant=reentrant)
        return model.norm(tokens)[:, 0]

    def whole(generator: torch.Generator) -> Tensor:
        return checkpoint(lambda: model(images, generator=generator).cls, use_reentrant=False)

    def two_sizes(generator: torch.Generator) -> Tensor:
        crops = (images, images[:, :, :28, :28])
        first, second = (checkpoint(model, one, generator=generator, use_reentrant=False) for one in crops)
        return first.cls + second.cls

    def in_parts(generator: torch.Generator) -> Tensor:
        parts = [lambda tokens, block=block: block(tokens, generator) for block in model.blocks]
        return model.norm(checkpoint_sequential(parts, 2, model.embed(images), use_reentrant=reentrant))[:, 0]

    plain = gradient(model, lambda generator: model(images, generator=generator).cls)
    for way in (each_block, whole, in_parts):
        torch.testing.assert_close(gradient(model, way), plain)
    both = gradient(
        model, lambda g: model(images, generator=g).cls + model(images[:, :, :28, :28], generator=g).cls
    )
    torch.testing.assert_close(gradient(model, two_sizes), both)


def test_draws_go_on_where_nothing_is_computed_again():
    """The same ticket in two forward passes must not bring the first one's images back."""
    model = small(drop_path=0.5).train()
    tokens, generator = model.embed(torch.randn(8, 3, 56, 56)), torch.Generator().manual_seed(0)
    found = []
    for _ in range(4):
        torch.manual_seed(5)
        found.append(model.blocks[0](tokens, generator))
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(found))


def test_a_checkpoint_that_cannot_be_repeated_is_refused():
    model = small(drop_path=0.5).train()
    tokens = model.embed(torch.randn(8, 3, 56, 56))
    draws = torch.Generator()
    out = checkpoint(model.blocks[0], tokens, draws, use_reentrant=False, preserve_rng_state=False)
    with pytest.raises(ValueError, match="leave preserve_rng_state=True"):
        out.sum().backward()
