"""Exercises of chapter 04: logits of prototypes, what a direction learns, and how many prototypes are in use."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dinov2_edu.exercises import Exercise
from dinov2_edu.heads import Prototypes


def _bottleneck(generator: torch.Generator) -> dict[str, Tensor]:
    b, e, k = (int(n) for n in torch.randint(4, 9, (3,), generator=generator))
    return {
        "bottleneck": 3 * torch.randn(b, e, generator=generator),
        "directions": 2 * torch.randn(k, e, generator=generator),
        "gains": 0.5 + torch.rand(k, 1, generator=generator),
    }


def _logits(bottleneck: Tensor, directions: Tensor, gains: Tensor) -> Tensor:
    layer = Prototypes(directions.shape[1], len(directions))
    layer.weight_v.data, layer.weight_g.data = directions, gains
    return layer(normalize(bottleneck, dim=-1)).detach()


def _logits_of_long_tokens(bottleneck: Tensor, directions: Tensor, gains: Tensor) -> Tensor:
    return bottleneck @ normalize(directions, dim=-1).T * gains.T


def _logits_without_gains(bottleneck: Tensor, directions: Tensor, gains: Tensor) -> Tensor:
    return normalize(bottleneck, dim=-1) @ normalize(directions, dim=-1).T


def _logits_of_long_prototypes(bottleneck: Tensor, directions: Tensor, gains: Tensor) -> Tensor:
    return normalize(bottleneck, dim=-1) @ (gains * directions).T


def _layer(generator: torch.Generator) -> dict[str, Tensor]:
    k, e = (int(n) for n in torch.randint(4, 9, (2,), generator=generator))
    return {
        "directions": 2 * torch.randn(k, e, generator=generator),
        "gains": 0.5 + torch.rand(k, 1, generator=generator),
        "gradient": torch.randn(k, e, generator=generator),
    }


def _direction_gradient(directions: Tensor, gains: Tensor, gradient: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = directions.detach().requires_grad_()
        rows = gains * normalize(leaf, dim=-1)
        return torch.autograd.grad(rows, leaf, gradient)[0]


def _with_the_part_along(directions: Tensor, gains: Tensor, gradient: Tensor) -> Tensor:
    return gains / directions.norm(dim=-1, keepdim=True) * gradient


def _token_logits(generator: torch.Generator) -> dict[str, Tensor]:
    tokens, k = (int(n) for n in torch.randint(6, 14, (2,), generator=generator))
    logits = torch.randn(tokens, k, generator=generator)
    logits[:, -1] -= 100  # a prototype that nobody is near to
    logits[:3, 0] += 100  # and one with at least three tokens
    return {"logits": logits}


def _perplexity(shares: Tensor) -> Tensor:
    return torch.special.entr(shares).sum(dim=-1).exp()


def _usage(logits: Tensor) -> Tensor:
    return _perplexity(torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1]) / len(logits))


EXERCISES = {
    "logits": Exercise(
        task="one logit (b, k) for each of the prototypes `directions` (k, e), times `gains` (k, 1)",
        reference=_logits,
        make_inputs=_bottleneck,
        hint="Of which axis must each vector have length 1: print the lengths of the rows of `directions`.",
        mistakes={
            "the bottleneck vectors were not brought to length 1": _logits_of_long_tokens,
            "the directions were not brought to length 1": _logits_of_long_prototypes,
            "the gains were left out": _logits_without_gains,
        },
    ),
    "direction_gradient": Exercise(
        task="the gradient (k, e) of `directions` v, where the layer's weights are w = gains * v / |v| and "
        "`gradient` (k, e) is that of w",
        reference=_direction_gradient,
        make_inputs=_layer,
        hint="Subtract from each row its part along v / |v|; then multiply by gain / |v|.",
        mistakes={
            "the part along the direction was left in": _with_the_part_along,
            "the gains were left out": lambda v, gains, gradient: _direction_gradient(
                v, torch.ones_like(gains), gradient
            ),
            "the length of the direction was left out": lambda v, gains, gradient: _direction_gradient(
                normalize(v, dim=-1), gains, gradient
            ),
        },
    ),
    "usage": Exercise(
        task="how many prototypes are in use: the exponential of the entropy of the shares of tokens nearest to each",
        reference=_usage,
        make_inputs=_token_logits,
        hint="argmax over the prototypes, bincount with minlength=k, divide by the number of tokens.",
        mistakes={
            "the entropy itself was returned": lambda logits: _usage(logits).log(),
            "probabilities were averaged instead of counting the nearest prototype": lambda logits: (
                _perplexity(logits.softmax(dim=1).mean(dim=0))
            ),
            "prototypes with any token at all were counted": lambda logits: torch.tensor(
                float(logits.argmax(dim=1).unique().numel())
            ),
        },
    ),
}
