"""The backbone: official numbers, transformers' models, and the errors a reader meets."""

import math
from dataclasses import replace

import pytest
import torch

from dinov2_edu.vit import (
    Tokens,
    VisionTransformer,
    ViTConfig,
    stochastic_depth,
    vit_base,
    vit_giant2,
    vit_large,
    vit_small,
    vit_tiny,
)
from dinov2_edu.vit.mimetic import sinusoidal_positions

VARIANTS = ("backbone", "backbone_registers", "backbone_swiglu")
SIZES = ("70x70", "28x28", "56x98")
TINY = ViTConfig(img_size=28, patch_size=7, width=24, depth=3, heads=2, layer_scale=0.5)


@pytest.fixture(params=VARIANTS)
def official(request, golden, vit_config):
    numbers = golden(f"{request.param}.npz")
    model = VisionTransformer(vit_config(numbers)).eval()
    weights = {
        k.removeprefix("weights/"): torch.from_numpy(v)
        for k, v in numbers.items()
        if k.startswith("weights/")
    }
    model.load_state_dict(weights, strict=True)
    return model, {name: torch.from_numpy(array) for name, array in numbers.items() if array.ndim}


def close(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.golden
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_tokens_are_the_official_ones(official, size, masked):
    model, numbers = official
    tokens = model(numbers[f"{size}/images"], numbers[f"{size}/masks"] if masked else None)
    where = f"{size}/masked" if masked else size
    close(tokens.cls, numbers[f"{where}/x_norm_clstoken"])
    close(tokens.patches, numbers[f"{where}/x_norm_patchtokens"])
    close(tokens.registers, numbers[f"{where}/x_norm_regtokens"])


@pytest.mark.golden
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_attention_and_inner_layers_are_the_official_ones(official, size):
    model, numbers = official
    images = numbers[f"{size}/images"]
    close(model.attention_maps(images), numbers[f"{size}/last_attention"])
    inner = model.intermediate_layers(images, [1, 0])
    close(inner[0].patches, numbers[f"{size}/intermediate_layer_1"])
    assert not torch.allclose(inner[1].patches, inner[0].patches)


@pytest.mark.golden
@torch.no_grad()
def test_the_wrong_position_interpolation_moves_features(official):
    """The two official ways differ enough to matter, so mixing them up cannot go unnoticed."""
    model, numbers = official
    images = numbers["56x98/images"]
    right = model(images).cls
    other = (0.1, False) if model.config.interpolate_antialias else (0.0, True)
    model.config = replace(model.config, interpolate_offset=other[0], interpolate_antialias=other[1])
    assert (model(images).cls - right).abs().max() > 1e-3


def test_vit_small_has_the_official_tensors():
    with torch.device("meta"):
        state = vit_small().state_dict()
        with_registers = vit_small(n_registers=4).state_dict()
    block = "norm1 attn.qkv attn.proj norm2 mlp.fc1 mlp.fc2".split()
    names = {"cls_token", "pos_embed", "mask_token", "norm.weight", "norm.bias"}
    names |= {f"patch_embed.proj.{kind}" for kind in ("weight", "bias")}
    for i in range(12):
        names |= {f"blocks.{i}.{part}.{kind}" for part in block for kind in ("weight", "bias")}
        names |= {f"blocks.{i}.ls1.gamma", f"blocks.{i}.ls2.gamma"}
    assert set(state) == names and len(names) == 175
    assert sum(tensor.numel() for tensor in state.values()) == 22_056_576
    assert state["pos_embed"].shape == (1, 1370, 384) and state["mask_token"].shape == (1, 384)
    assert set(with_registers) - names == {"register_tokens"}
    assert with_registers["register_tokens"].shape == (1, 4, 384)


@pytest.mark.parametrize(
    ("build", "millions"), [(vit_tiny, 5.4), (vit_base, 86.6), (vit_large, 304.4), (vit_giant2, 1136.5)]
)
def test_presets_have_the_published_sizes(build, millions):
    with torch.device("meta"):
        model = build()
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_mimetic_weights_look_like_trained_ones():
    config = ViTConfig(img_size=32, patch_size=4, width=64, depth=2, heads=2, init="mimetic")
    torch.manual_seed(0)
    model = VisionTransformer(config).requires_grad_(False)
    for block in model.blocks:
        queries, keys, values = block.attn.qkv.weight.chunk(3)
        alike, mixed = queries.T @ keys, block.attn.proj.weight @ values
        assert alike.diagonal().mean() > 0.5 > 5 * (alike - alike.diag().diag()).mean().abs()
        assert mixed.diagonal().mean() == pytest.approx(-0.4, abs=0.05)
        noise = mixed + 0.4 * torch.eye(64)
        assert noise.std() == pytest.approx(0.4 / 8, rel=0.1)
    assert not torch.equal(model.blocks[0].attn.qkv.weight, model.blocks[1].attn.qkv.weight)
    places = torch.nn.functional.normalize(model.pos_embed[0, 1:], dim=-1)
    likeness = (places @ places.T).unflatten(1, (8, 8))[8 * 3 + 4]  # of row 3, column 4 with all others
    assert (
        likeness[3, 4] > likeness[3, 5] > likeness[3, 6] and likeness[3, 4] > likeness[4, 4] > likeness[5, 4]
    )
    assert model.pos_embed[0, 0].std() < 0.05


def test_unknown_initialisations_are_refused():
    with pytest.raises(ValueError, match="init must be 'official' or 'mimetic', got 'paper'"):
        ViTConfig(init="paper")
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        ViTConfig(width=6, heads=2, init="mimetic")
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        sinusoidal_positions(8, 6)


def to_transformers(state: dict) -> dict:
    """Official names to those of transformers' Dinov2 models (version 5)."""
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        name = name.replace("cls_token", "embeddings.cls_token").replace(
            "mask_token", "embeddings.mask_token"
        )
        name = name.replace("pos_embed", "embeddings.position_embeddings")
        name = name.replace("register_tokens", "embeddings.register_tokens")
        name = name.replace("blocks.", "encoder.layer.").replace("attn.proj", "attention.o_proj")
        name = name.replace("ls1.gamma", "layer_scale1.lambda1").replace("ls2.gamma", "layer_scale2.lambda1")
        if name.startswith("norm."):
            name = f"layernorm.{name.removeprefix('norm.')}"
        if "attn.qkv" in name:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                renamed[name.replace("attn.qkv", f"attention.{part}_proj")] = piece
        else:
            renamed[name] = tensor
    return renamed


@pytest.mark.parametrize("n_registers", [0, 4])
@torch.no_grad()
def test_agrees_with_transformers(n_registers):
    """The whole ViT-S/14, random weights (positions and registers too), at three sizes, to 1e-4.

    transformers interpolates the positions of the plain model to the grid's size, where the official code adds 0.1 and
    gives a factor: ours is told to do as transformers does (at 518 nothing is interpolated, and both agree anyway).
    """
    transformers = pytest.importorskip("transformers", minversion="5")
    torch.manual_seed(0)
    ours = vit_small(n_registers=n_registers, interpolate_offset=0.0).eval()
    for name, parameter in ours.named_parameters():
        if "gamma" in name or "token" in name or "norm" in name:
            parameter.copy_(torch.randn_like(parameter) * 0.2 + ("norm" in name and "weight" in name))
    kind = "Dinov2WithRegisters" if n_registers else "Dinov2"
    sizes = {
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": 518,
        "patch_size": 14,
    }
    if n_registers:
        sizes["num_register_tokens"] = n_registers
    config = getattr(transformers, f"{kind}Config")(**sizes)
    theirs = getattr(transformers, f"{kind}Model")(config).eval()
    theirs.load_state_dict(to_transformers(ours.state_dict()), strict=True)
    for size in [(224, 224), (518, 518), (224, 308)]:
        images = torch.randn(1, 3, *size)
        tokens = ours(images)
        expected = theirs(images).last_hidden_state
        close(torch.cat([tokens.cls[:, None], tokens.registers, tokens.patches], dim=1), expected, 1e-4)


@torch.no_grad()
def test_transformers_and_the_official_code_differ_in_positions_alone():
    """What is left between the official way and transformers' way of interpolating, in positions of unit size."""
    official, theirs = vit_small(depth=1), vit_small(depth=1, interpolate_offset=0.0)
    theirs.load_state_dict(official.state_dict())
    torch.nn.init.normal_(official.pos_embed)
    theirs.pos_embed.copy_(official.pos_embed)
    assert torch.equal(official.positions(37, 37), theirs.positions(37, 37))
    difference = (official.positions(16, 16) - theirs.positions(16, 16)).abs().mean()
    assert 0.01 < difference < 0.2


@torch.no_grad()
def test_a_list_of_sizes_is_the_same_as_one_call_each():
    model = VisionTransformer(TINY).eval()
    large, small = torch.randn(2, 3, 28, 28), torch.randn(4, 3, 14, 21)
    masks = torch.rand(2, 16) < 0.5
    both = model([large, small], [masks, None])
    assert [type(tokens) for tokens in both] == [Tokens, Tokens]
    close(both[0].cls, model(large, masks).cls)
    close(both[1].patches, model(small).patches)
    assert both[1].patches.shape == (4, 6, 24)


@pytest.mark.parametrize("changes", [{}, {"n_registers": 2}, {"layer_scale": None}, {"drop_path": 0.5}])
def test_tokens_at_some_places_are_those_of_the_whole(changes):
    """And the gradients as well: leaving out the last feed-forward of tokens that nobody reads changes nothing."""
    torch.manual_seed(0)
    model = VisionTransformer(replace(TINY, **changes)).train()
    images, masks = torch.randn(3, 3, 28, 28), torch.rand(3, 16) < 0.4
    read = masks.flatten().nonzero().squeeze(1)
    whole = model(images, masks, generator=torch.Generator().manual_seed(1))
    expected = torch.cat([whole.cls, whole.patches[masks]])
    found = torch.cat(model.tokens_at(images, read, masks, generator=torch.Generator().manual_seed(1)))
    close(found, expected)
    weight = torch.randn_like(found)
    parameters = list(model.parameters())
    ours = torch.autograd.grad((found * weight).sum(), parameters)
    theirs = torch.autograd.grad((expected * weight).sum(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        close(one, other)
    cls, none = model.eval().tokens_at(images)
    close(cls, model(images).cls)
    assert none.shape == (0, 24)


@torch.no_grad()
def test_masked_patches_cannot_be_seen():
    """What stands under the mask does not matter; what stands beside it does."""
    model = VisionTransformer(TINY).eval()
    torch.nn.init.normal_(model.mask_token)
    images = torch.randn(1, 3, 28, 28)
    masks = torch.zeros(1, 16, dtype=torch.bool)
    masks[0, 5] = True  # row 1, column 1 of 4 x 4
    changed = images.clone()
    changed[..., 7:14, 7:14] += 1.0
    close(model(images, masks).cls, model(changed, masks).cls)
    assert not torch.allclose(model(images).cls, model(changed).cls, atol=1e-4)


@torch.no_grad()
def test_attention_rows_sum_to_one_and_explain_the_block():
    model = VisionTransformer(replace(TINY, n_registers=2)).eval()
    images = torch.randn(2, 3, 28, 28)
    attention = model.attention_maps(images, 0)
    assert attention.shape == (2, 2, 19, 19)
    close(attention.sum(dim=-1), torch.ones(2, 2, 19))
    block, tokens = model.blocks[0], model.embed(images)
    _, _, value = block.attn.heads_of(block.norm1(tokens))
    mixed = block.attn.proj((attention @ value).transpose(1, 2).flatten(2))
    close(block.attn(block.norm1(tokens)), mixed)


def test_bfloat16_training_attention_is_the_fused_one():
    torch.manual_seed(0)
    model = VisionTransformer(TINY)
    images = torch.randn(2, 3, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        written_out = model(images).cls
        with torch.no_grad():
            fused = model(images).cls
    torch.testing.assert_close(written_out.float(), fused.float(), atol=0.05, rtol=0.05)
    written_out.float().sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if n != "mask_token")


def test_stochastic_depth_keeps_the_expectation():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(10, 3, 4)
    draws = torch.stack([stochastic_depth(tokens, torch.ones_like, 0.4, generator) for _ in range(2000)])
    added = (draws - tokens).mean(dim=(0, 2, 3))
    torch.testing.assert_close(added, torch.ones(10), atol=0.07, rtol=0)
    one = draws[0] - tokens
    assert sorted(one[:, 0, 0].round(decimals=4).tolist()) == pytest.approx([0] * 4 + [10 / 6] * 6, abs=1e-3)


def test_stochastic_depth_only_in_training():
    model = VisionTransformer(replace(TINY, drop_path=0.5))
    images = torch.randn(4, 3, 28, 28)
    model.eval()
    close(model(images).cls, model(images).cls)
    model.train()
    draws = [model(images, generator=torch.Generator().manual_seed(seed)).cls for seed in (1, 1, 2)]
    close(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2])


def test_first_attention_is_nearly_uniform():
    """With weights of 0.02 the first softmax hardly prefers anything: its entropy is near ln t."""
    torch.manual_seed(0)
    attention = vit_tiny().eval().attention_maps(torch.randn(1, 3, 32, 32), 0)
    entropy = -(attention * attention.log()).sum(dim=-1).mean()
    assert math.log(65) - 0.05 < entropy <= math.log(65) + 1e-5


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(3, 28, 28), "add the batch axis"),
        (torch.zeros(1, 28, 28, 3), "channels come last"),
        (torch.zeros(1, 4, 28, 28), "(b, 3, height, width)"),
        (torch.zeros(0, 3, 28, 28), "at least one image"),
        (torch.zeros(1, 3, 28, 30), "multiples of the patch size 7, got 28 x 30: resize or crop to 28 x 28"),
        (torch.zeros(1, 3, 28, 28, dtype=torch.uint8), "divide bytes by 255"),
        ("photo.jpg", "'photo.jpg' (str)"),
    ],
)
def test_bad_images_are_explained(images, says):
    with pytest.raises((ValueError, TypeError)) as error:
        VisionTransformer(TINY).embed(images)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "masks",
    [torch.zeros(1, 15).bool(), torch.zeros(2, 16).bool(), torch.zeros(1, 16), torch.zeros(16).bool()],
)
def test_bad_masks_are_explained(masks):
    with pytest.raises(ValueError, match=r"bool tensor of shape \((1, 16|b: images, n)\), True = masked"):
        VisionTransformer(TINY)(torch.zeros(1, 3, 28, 28), masks)


def test_bad_layers_and_configs_are_explained():
    model = VisionTransformer(TINY)
    with pytest.raises(ValueError, match="blocks 0 to 2"):
        model.attention_maps(torch.zeros(1, 3, 28, 28), 3)
    with pytest.raises(ValueError, match="layers is empty"):
        model.intermediate_layers(torch.zeros(1, 3, 28, 28), [])
    with pytest.raises(ValueError, match="1 batches of images and 2 of masks"):
        model([torch.zeros(1, 3, 28, 28)], [None, None])
    for changes, says in [
        ({"width": 25}, "not a multiple of heads"),
        ({"img_size": 30}, "not a multiple of patch_size"),
        ({"ffn": "gelu"}, "'mlp' or 'swiglu'"),
        ({"depth": 0}, "at least 1"),
        ({"drop_path": 1.0}, r"\[0, 1\)"),
    ]:
        with pytest.raises(ValueError, match=says):
            replace(TINY, **changes)
