"""The model in the page says what torch says: tokens after every block, attention of every head, at every size."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

from dinov2_edu.vit import BOOK_VIT, VisionTransformer, ViTConfig
from dinov2_edu.weights import load_backbone

SIZES = [(32, 32), (64, 64), (96, 64), (128, 128), (20, 44)]
SMALL = ViTConfig(img_size=32, patch_size=4, width=64, depth=3, heads=2, layer_scale=None, init_std=0.1)
CONFIGS = {
    "offset": SMALL,
    "antialias": replace(SMALL, interpolate_offset=0.0, interpolate_antialias=True),
    "registers": replace(SMALL, n_registers=4, interpolate_offset=0.0, interpolate_antialias=True),
    "LayerScale": replace(SMALL, layer_scale=0.5, n_registers=1),
    "one channel": replace(SMALL, in_channels=1),
}
LOOK = """
const model = await live.Model.fromFile(file.data.buffer, { mostPixels: 129 * 129, simd });
const [, , height, width] = image.shape;
const seen = model.look(image.data, height, width, mask?.data ?? null);
const attention = seen.qkv.map((_, layer) => queries.map((query) => model.attentionOf(seen, layer, query)));
const normed = seen.blocks.map((_, layer) => model.tokensOf(seen, layer, true));
return { final: seen.final, blocks: seen.blocks, normed, attention, rows: seen.rows, cols: seen.cols };
"""


def build(config: ViTConfig) -> VisionTransformer:
    """A backbone with random numbers in every weight, biases and gains too."""
    generator = torch.Generator().manual_seed(1)
    model = VisionTransformer(config).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        if not name.endswith("norm.weight"):
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return model


def file_of(model: VisionTransformer) -> bytes:
    """The model as the file that the page reads."""
    return save(model.state_dict(), {"config": json.dumps(asdict(model.config))})


def hold_to_torch(live, model, height, width, *, simd=None, masks=None):
    """Look at a random picture in both, and compare everything."""
    generator = torch.Generator().manual_seed(height * width)
    image = torch.randn(1, model.config.in_channels, height, width, generator=generator)
    n_tokens = model.n_prefix_tokens + height * width // model.config.patch_size**2
    queries = list(range(n_tokens)) if n_tokens < 100 else [0, 1, 7, n_tokens - 1]
    found = live.run(LOOK, file=file_of(model), image=image, mask=masks, simd=simd, queries=queries)
    assert (found["rows"], found["cols"]) == model.grid(height, width)
    depth = model.config.depth
    tokens = model.embed(image, masks)
    for layer in range(depth):
        block = model.blocks[layer]
        query, key, _ = block.attn.heads_of(block.norm1(tokens))
        wanted = block.attn.weights(query, key)[0][:, queries]  # h q t
        here = np.stack(found["attention"][layer]).reshape(len(queries), model.config.heads, n_tokens)
        np.testing.assert_allclose(here.swapaxes(0, 1), wanted, atol=1e-5, rtol=0)
        tokens = block(tokens)
        np.testing.assert_allclose(found["blocks"][layer], tokens.flatten(), atol=3e-5, rtol=0)
        np.testing.assert_allclose(found["normed"][layer], model.norm(tokens).flatten(), atol=2e-5, rtol=0)
    np.testing.assert_allclose(found["final"], model.norm(tokens).flatten(), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_book_model_at_every_size(live, height, width):
    hold_to_torch(live, load_backbone("book"), height, width)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 44), (64, 48)])
def test_every_kind_of_model(live, name, height, width):
    hold_to_torch(live, build(CONFIGS[name]), height, width)


@pytest.mark.parametrize("name", ["offset", "registers"])
def test_masked_patches(live, name):
    masks = torch.rand(1, 40, generator=torch.Generator().manual_seed(0)) < 0.4
    hold_to_torch(live, build(CONFIGS[name]), 32, 20, masks=masks)


@pytest.mark.parametrize("simd", ["plain", "relaxed"])
def test_plain_simd_says_the_same(live, simd):
    hold_to_torch(live, build(CONFIGS["antialias"]), 40, 32, simd=simd)


def test_book_positions_are_stretched_by_the_books_own_rule():
    assert (BOOK_VIT.interpolate_offset, BOOK_VIT.interpolate_antialias) == (0.0, True)
