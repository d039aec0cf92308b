"""What the teacher's scores become, and what the student is asked to match: all as pure functions.

Two ways to make targets (centering, Sinkhorn-Knopp), three losses (DINO on class tokens, iBOT on masked
patches, KoLeo on features) and two readings (entropy, KL divergence). Nothing here keeps state: a centre goes
in and comes out. Targets never carry a gradient; the losses pass one to the student's argument only.
Half-precision input is computed in float32.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dinov2_edu.checks import (
    check_above_zero,
    check_at_least,
    check_probability,
    checked,
    describe,
    require,
)
from dinov2_edu.shapes import ClassTokens, Logits, PatchMask, Probs, check_probs

AllReduce = Callable[[Tensor], Tensor | None]
"""Sums a tensor over all processes, in place or as the returned tensor."""


@checked
@torch.no_grad()
def center_targets(teacher_logits: Logits, center: Float[Tensor, " k"], temperature: float) -> Probs:
    """Turn teacher logits into targets: subtract the centre, then a softmax made sharp by a low temperature.

    The centre is one number a prototype, so it does change the softmax: it lowers prototypes that win often.

    Raises:
        ValueError: the centre has another length than the logits, or the temperature is not above 0.

    Source: DINO (Caron et al. 2021), section 3.1. The paper's text (section 4) has softmax before centering;
    the code, and this function, subtract first: official dinov2/loss/dino_clstoken_loss.py @ b8931f7.
    """
    check_above_zero(temperature=temperature)
    return F.softmax((_full(teacher_logits) - center) / temperature, dim=-1)


@checked
@torch.no_grad()
def update_center(
    center: Float[Tensor, " k"], teacher_logits_mean: Float[Tensor, " k"], momentum: float = 0.9
) -> Float[Tensor, " k"]:
    """Move the centre towards the mean of the batch's teacher logits; returns the new centre.

    The mean is taken over all rows of all processes. The targets of a step use the centre from before its
    update.

    Raises:
        ValueError: the two lengths differ, or the momentum is outside 0 to 1.

    Source: DINO (Caron et al. 2021), equation 4; official dinov2/loss/dino_clstoken_loss.py @ b8931f7.
    """
    check_probability(momentum, "momentum")
    return center * momentum + _full(teacher_logits_mean) * (1 - momentum)


@checked
@torch.no_grad()
def sinkhorn_knopp(
    teacher_logits: Float[Tensor, "m k"],
    temperature: float,
    n_iterations: int = 3,
    *,
    all_reduce: AllReduce | None = None,
) -> Float[Tensor, "m k"]:
    """Turn teacher logits into targets that use every prototype about equally over the batch.

    Starts from `exp(logits / temperature)` and repeats: scale each prototype's column so that all prototypes
    have the same total, then scale each row to sum to 1. It works on logarithms, where scaling is
    subtraction, so neither large logits nor a prototype that nobody likes can overflow or give 0 / 0.

    The official code also divides by the number of prototypes, the number of rows and the grand total. These
    constants cancel in the row step that ends every iteration, so the numbers are the same without them.

    Args:
        teacher_logits: one row a token, of this process only. No rows are fine if another process has some.
        temperature: the teacher's temperature, above 0.
        n_iterations: how often to repeat, at least 1.
        all_reduce: sums a tensor over all processes; None in a single process.

    Raises:
        ValueError: not a matrix, a temperature not above 0, or no iteration.

    Source: SwAV (Caron et al. 2020), section 3.1; official dinov2/loss/dino_clstoken_loss.py @ b8931f7.
    """
    check_above_zero(temperature=temperature)
    check_at_least(1, n_iterations=n_iterations)
    log_probs = _full(teacher_logits) / temperature
    for _ in range(n_iterations):
        log_probs = log_probs - _log_sum_over_rows(log_probs, all_reduce)
        log_probs = F.log_softmax(log_probs, dim=-1)
    return log_probs.exp()


@checked
def cross_entropy(
    student_logits: Logits, teacher_probs: Probs, student_temperature: float
) -> Float[Tensor, "*batch"]:
    """Return how badly the student's distribution predicts the teacher's, in nats, for every token.

    Computes `-sum_k teacher_k * log softmax(student / temperature)_k`. It is least when both distributions
    are equal, and then it is the teacher's entropy, not 0. No gradient flows to `teacher_probs`.

    Raises:
        ValueError: the two shapes differ, or the temperature is not above 0.

    Source: DINO (Caron et al. 2021), equation 2.
    """
    check_above_zero(student_temperature=student_temperature)
    check_probs(teacher_probs, "teacher_probs")
    return _cross_entropy(student_logits, teacher_probs, student_temperature)


@checked
def dino_loss(
    student_logits: Float[Tensor, "student_views b k"],
    teacher_probs: Float[Tensor, "teacher_views b k"],
    *,
    temperature: float = 0.1,
    skip_same_view: bool = False,
) -> Float[Tensor, ""]:
    """Return the DINO loss on class tokens: every student view predicts every teacher view of its image.

    The cross-entropies are averaged over images and summed over the pairs (student view, teacher view).
    Dividing by the number of pairs is left to the caller.

    Args:
        student_logits: one slice a student view.
        teacher_probs: targets, one slice a teacher view; no gradient flows to them.
        temperature: the student's temperature, above 0.
        skip_same_view: leave out the pairs where student and teacher see the same view (equal index).

    Raises:
        ValueError: images or prototypes differ in number, an empty batch, or no pair is left.

    Source: DINO (Caron et al. 2021), equation 3; official dinov2/loss/dino_clstoken_loss.py @ b8931f7.
    """
    check_above_zero(temperature=temperature)
    check_probs(teacher_probs, "teacher_probs")
    filled = student_logits.numel() > 0 and teacher_probs.numel() > 0
    require(filled, f"wanted views of at least one image, got {describe(student_logits)}")
    one_view = len(student_logits) == len(teacher_probs) == 1
    require(not (skip_same_view and one_view), "no pair of different views is left: give a second view")
    losses = []
    for view, logits in enumerate(student_logits):
        partners = [other for other in range(len(teacher_probs)) if not (skip_same_view and other == view)]
        # The cross-entropy is linear in the target, so the partners' targets are added first.
        losses.append(_cross_entropy(logits, teacher_probs[partners].sum(0), temperature).mean())
    return torch.stack(losses).sum()


@checked
def ibot_loss(
    student_logits: Float[Tensor, "m k"],
    teacher_probs: Float[Tensor, "m k"],
    masks: PatchMask,
    *,
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Return the iBOT loss: at each masked patch the student predicts what the teacher saw there.

    The cross-entropies are averaged over an image's masked patches and then over all images. An image without
    a masked patch adds 0 and still counts as one, so with half of the crops unmasked the loss is about half
    of a masked crop's. With nothing masked at all it is 0.

    Args:
        student_logits: one row for every masked patch, in the order of `tokens[masks]`.
        teacher_probs: the targets of the same patches; no gradient flows to them.
        masks: all masks of the batch, True = masked.
        temperature: the student's temperature, above 0.

    Raises:
        ValueError: the number of rows is not the number of masked patches, or the shapes differ.

    Source: iBOT (Zhou et al. 2021), equation 2; official dinov2/loss/ibot_patch_loss.py @ b8931f7.
    """
    require(len(masks) > 0, f"masks: wanted at least one image, got {describe(masks)}")
    check_above_zero(temperature=temperature)
    check_probs(teacher_probs, "teacher_probs")
    losses = _cross_entropy(student_logits, teacher_probs, temperature)
    patches_a_row = masks.sum(1, keepdim=True).expand_as(masks)[masks]
    require(
        losses.shape == patches_a_row.shape,
        f"wanted one row for each of the {len(patches_a_row)} masked patches, in the order of tokens[masks], "
        f"got {describe(student_logits)}",
    )
    return (losses / patches_a_row).sum() / len(masks)


@checked
def koleo_loss(features: ClassTokens, eps: float = 1e-8) -> Float[Tensor, ""]:
    """Return the KoLeo loss, which pushes every image's feature away from its nearest neighbour in the batch.

    Computes `-mean log(distance to the nearest other)` of features brought to length 1. The lower it is, the
    more evenly the batch is spread over the sphere. Always computed in float32: in half precision `eps` would
    be 0 and two equal features would give infinity.

    Args:
        features: the student's class tokens before the head, one crop an image.
        eps: added to distances, so that the logarithm of 0 is never taken.

    Raises:
        ValueError: not a matrix, or fewer than two images.

    Source: Sablayrolles et al. 2019, equation 2; official dinov2/loss/koleo_loss.py @ b8931f7.
    """
    check_above_zero(eps=eps)
    require(
        len(features) >= 2,
        f"KoLeo needs a nearest neighbour, so a batch of at least 2 images, got {len(features)}: "
        "use a larger batch, or leave KoLeo out",
    )
    with torch.autocast(features.device.type, enabled=False):
        units = F.normalize(features.float(), dim=-1, eps=eps)
        with torch.no_grad():
            cosines = units @ units.T
            nearest = cosines.fill_diagonal_(-2).argmax(dim=1)  # -2: nobody is their own neighbour
        return -torch.log(F.pairwise_distance(units, units[nearest], eps=eps) + eps).mean()


@checked
def entropy(probs: Probs) -> Float[Tensor, "*batch"]:
    """Return the entropy of every distribution in nats: 0 if one prototype has it all, ln k if uniform."""
    check_probs(probs, "probs")
    return torch.special.entr(_full(probs)).sum(-1)


@checked
def kl_divergence(teacher_probs: Probs, student_probs: Probs) -> Float[Tensor, "*batch"]:
    """Return KL(teacher || student) in nats: cross-entropy minus the teacher's entropy, 0 when they agree.

    It is infinite where the student gives no weight to a prototype to which the teacher does.

    Raises:
        ValueError: the two shapes differ.
    """
    check_probs(teacher_probs, "teacher_probs")
    check_probs(student_probs, "student_probs")
    teacher, student = _full(teacher_probs), _full(student_probs)
    return (torch.xlogy(teacher, teacher) - torch.xlogy(teacher, student)).sum(-1)


def _cross_entropy(student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """`cross_entropy` for targets that may be sums of distributions: it is linear in them."""
    student_log_probs = F.log_softmax(_full(student_logits) / temperature, dim=-1)
    return -(targets.detach() * student_log_probs).sum(-1)


def _full(tensor: Tensor) -> Tensor:
    """Bring half precision to float32 and leave wider numbers as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _log_sum_over_rows(log_probs: Tensor, all_reduce: AllReduce | None) -> Tensor:
    """Return log(sum over rows of exp), one number a prototype, over the rows of all processes."""
    local = log_probs.logsumexp(0)
    if all_reduce is None:
        return local

    def total(tensor: Tensor) -> Tensor:
        summed = all_reduce(tensor)
        return tensor if summed is None else summed

    # The mean over the processes that have rows is subtracted before exp, and float64 bears what is left. Apple's GPUs
    # have none, and there processes are one: what is left is 0.
    wide = torch.float32 if local.device.type == "mps" else torch.float64
    holders = total(torch.full_like(local, float(len(log_probs) > 0)))
    pivot = total(local.nan_to_num(neginf=0.0)) / holders.clamp(min=1)
    return pivot + total((local - pivot).to(wide).exp()).log().to(local.dtype)
