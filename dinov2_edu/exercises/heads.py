"""Exercises of chapter 04: logits of prototypes, masked patches only, and how many prototypes are in use."""

import torch
from torch import Tensor, nn
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


class CountingHead(nn.Module):
    """A linear head that also says how many tokens were put through it."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, tokens: Tensor) -> tuple[Tensor, int]:
        """Return logits and the number of tokens."""
        return tokens @ self.weight.T, tokens[..., 0].numel()


def _masked_crops(generator: torch.Generator) -> dict[str, Tensor | nn.Module]:
    b, n = (int(n) for n in torch.randint(3, 8, (2,), generator=generator))
    masks = torch.rand(b, n, generator=generator) < 0.4
    masks[0], masks[1, :2] = False, torch.tensor([True, False])
    return {
        "patches": torch.randn(b, n, 6, generator=generator),
        "masks": masks,
        "head": CountingHead(torch.randn(5, 6, generator=generator)),
    }


def _picked_after_the_head(patches: Tensor, masks: Tensor, head: CountingHead) -> tuple[Tensor, int]:
    logits, put_through = head(patches)
    return logits[masks], put_through


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
        hint="Bring both the bottleneck vectors and the directions to length 1; then multiply by the gains.",
        mistakes={
            "the bottleneck vectors were not brought to length 1": _logits_of_long_tokens,
            "the directions were not brought to length 1": _logits_of_long_prototypes,
            "the gains were left out": _logits_without_gains,
        },
    ),
    "masked": Exercise(
        task="what `head` returns for the masked patches alone: their logits (m, k) and how many they are",
        reference=lambda patches, masks, head: head(patches[masks]),
        make_inputs=_masked_crops,
        hint="Index the patches with the mask, then call the head once.",
        mistakes={
            "all patches went through the head, and the masked ones were picked afterwards": _picked_after_the_head,
            "the visible patches were picked: True means masked": lambda patches, masks, head: head(
                patches[~masks]
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
