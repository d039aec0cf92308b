"""The projection head: official numbers, torch's own weight normalisation, and what its parts promise."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dinov2_edu.heads import ProjectionHead, Prototypes


def tiny_head(**changes):
    torch.manual_seed(0)
    return ProjectionHead(10, 7, **({"hidden_dim": 16, "bottleneck_dim": 5} | changes))


@pytest.mark.golden
def test_logits_match_the_official_head(golden):
    numbers = {name: torch.from_numpy(array) for name, array in golden("head.npz").items()}
    weights = {name.removeprefix("weights/"): w for name, w in numbers.items() if name.startswith("weights/")}
    bottleneck_dim, hidden_dim = weights["mlp.4.weight"].shape
    head = ProjectionHead(
        weights["mlp.0.weight"].shape[1],
        weights["last_layer.weight_v"].shape[0],
        hidden_dim=hidden_dim,
        bottleneck_dim=bottleneck_dim,
    )
    head.load_state_dict(weights, strict=True)
    torch.testing.assert_close(head(numbers["inputs"]), numbers["outputs"], rtol=0, atol=1e-5)


def test_prototypes_match_torchs_weight_norm():
    ours = Prototypes(5, 7)
    nn.init.uniform_(ours.weight_g, 0.5, 2)
    theirs = nn.utils.parametrizations.weight_norm(nn.Linear(5, 7, bias=False))
    theirs.parametrizations.weight.original0.data = ours.weight_g.data.clone()
    theirs.parametrizations.weight.original1.data = ours.weight_v.data.clone()
    inputs = torch.randn(3, 5)
    torch.testing.assert_close(ours(inputs), theirs(inputs))
    ours(inputs).square().sum().backward()
    theirs(inputs).square().sum().backward()
    torch.testing.assert_close(ours.weight_g.grad, theirs.parametrizations.weight.original0.grad)
    torch.testing.assert_close(ours.weight_v.grad, theirs.parametrizations.weight.original1.grad)


def test_logits_of_a_new_head_are_cosines():
    head = tiny_head()
    tokens = torch.randn(4, 10)
    prototypes = head.last_layer.weight_v
    expected = F.cosine_similarity(head.mlp(tokens)[:, None], prototypes[None], dim=-1)
    torch.testing.assert_close(head(tokens), expected)
    with torch.no_grad():
        prototypes *= 3  # only the direction of weight_v counts
    torch.testing.assert_close(head(tokens), expected)


def test_bottleneck_lies_on_the_unit_sphere():
    tokens = torch.randn(2, 3, 10)
    units = tiny_head().bottleneck(tokens)
    assert units.shape == (2, 3, 5)
    torch.testing.assert_close(units.norm(dim=-1), torch.ones(2, 3))


def test_gelu_stands_between_the_layers_and_not_after_them():
    head = tiny_head()
    tokens = torch.randn(4, 10)
    first, second, third = head.mlp[0], head.mlp[2], head.mlp[4]
    expected = third(F.gelu(second(F.gelu(first(tokens)))))
    torch.testing.assert_close(head.mlp(tokens), expected)


def test_initial_weights():
    torch.manual_seed(0)
    head = ProjectionHead(200, 50, hidden_dim=300, bottleneck_dim=64)
    for layer in (head.mlp[0], head.mlp[2], head.mlp[4]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert (layer.bias == 0).all()
    assert (head.last_layer.weight_g == 1).all()
    assert head.last_layer.weight_v.abs().max() <= 1 / 8  # as nn.Linear: uniform up to 1 / sqrt(64)
    assert head.last_layer.weight_v.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.05)


def test_names_are_the_official_ones():
    mlp = {f"mlp.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")}
    assert set(tiny_head().state_dict()) == mlp | {"last_layer.weight_g", "last_layer.weight_v"}


@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_number_of_layers(n_layers):
    head = tiny_head(n_layers=n_layers)
    assert sum(isinstance(layer, nn.Linear) for layer in head.mlp) == n_layers
    assert head(torch.randn(2, 10)).shape == (2, 7)


def test_length_of_the_prototypes_is_trained():
    head = tiny_head()
    F.cross_entropy(head(torch.randn(4, 10)), torch.arange(4)).backward()
    assert head.last_layer.weight_g.requires_grad
    assert head.last_layer.weight_g.grad.abs().max() > 0
    # A direction can only turn: its gradient is orthogonal to it.
    along = (head.last_layer.weight_v * head.last_layer.weight_v.grad).sum(-1)
    torch.testing.assert_close(along, torch.zeros(7), rtol=0, atol=1e-6)


def test_any_leading_axes():
    head = tiny_head()
    tokens = torch.randn(2, 3, 10)
    torch.testing.assert_close(head(tokens), head(tokens.reshape(6, 10)).reshape(2, 3, 7))
    assert head(tokens[0, 0]).shape == (7,)
    assert head(tokens[:0, 0]).shape == (0, 7)  # a batch without masked patches


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_token_of_zeros_stays_finite_in_half_precision(dtype):
    head = tiny_head().to(dtype)  # zero biases, so the bottleneck is zero before it is normalised
    assert head(torch.zeros(1, 10, dtype=dtype)).isfinite().all()


@pytest.mark.parametrize("tokens", [torch.randn(2, 9), torch.tensor(1.0), [1.0] * 10])
def test_tokens_of_another_width_are_refused(tokens):
    with pytest.raises(ValueError, match=r"tokens: wanted a .*tensor of shape \(..., (10|d: width)\), got"):
        tiny_head()(tokens)


@pytest.mark.parametrize("name", ["hidden_dim", "bottleneck_dim", "n_layers"])
def test_sizes_below_1_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        tiny_head(**{name: 0})
    with pytest.raises(ValueError, match="in_dim"):
        ProjectionHead(0, 7)
    with pytest.raises(ValueError, match="n_prototypes"):
        ProjectionHead(10, -1)
