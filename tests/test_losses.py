"""Targets and losses: official numbers, closed forms, naive loops in float64, gradients, and bad input."""

import math
import threading

import numpy as np
import pytest
import torch

from dinov2_edu.losses import (
    center_targets,
    cross_entropy,
    dino_loss,
    entropy,
    ibot_loss,
    kl_divergence,
    koleo_loss,
    sinkhorn_knopp,
    update_center,
)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def softmax(logits):
    """Naive, in float64."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def official_order_sinkhorn(logits, temperature, n_iterations):
    """The loop as it is usually written, with all its constants, in float64: prototypes down, rows across."""
    scores = np.exp(logits.astype(np.float64) / temperature).T
    n_prototypes, n_rows = scores.shape
    scores /= scores.sum()
    for _ in range(n_iterations):
        scores /= scores.sum(1, keepdims=True) * n_prototypes
        scores /= scores.sum(0, keepdims=True) * n_rows
    return (scores * n_rows).T


class SumOver:
    """An all_reduce for threads that play processes: everyone waits, everyone gets the sum."""

    def __init__(self, n, in_place):
        self.barrier, self.tensors, self.in_place = threading.Barrier(n, timeout=20), {}, in_place

    def __call__(self, tensor):
        self.tensors[threading.get_ident()] = tensor.clone()
        self.barrier.wait()
        total = sum(self.tensors.values())
        self.barrier.wait()
        if not self.in_place:
            return total
        tensor.copy_(total)


def in_processes(parts, work):
    """Run work(part) for every part at once and return the results in order."""
    results = [None] * len(parts)

    def run(i):
        results[i] = work(parts[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# Official numbers


@pytest.fixture
def official(golden):
    return {name: torch.from_numpy(np.asarray(array)) for name, array in golden("losses.npz").items()}


@pytest.mark.golden
def test_centered_targets_and_centres_match_over_three_steps(official):
    logits = official["dino/teacher_logits"]
    center = torch.zeros(logits.shape[-1])
    for step in range(len(logits)):
        targets = center_targets(logits[step], center, 0.05)
        torch.testing.assert_close(targets, official["dino/centered_probs"][step], rtol=0, atol=1e-6)
        center = update_center(center, logits[step].mean(0), 0.9)
        torch.testing.assert_close(center, official["dino/centers_after"][step, 0], rtol=0, atol=1e-6)


@pytest.mark.golden
def test_sinkhorn_matches(official):
    ours = sinkhorn_knopp(official["dino/teacher_logits"][0], 0.05)
    torch.testing.assert_close(ours, official["dino/sinkhorn"], rtol=1e-4, atol=1e-6)


@pytest.mark.golden
def test_dino_loss_matches(official):
    ours = dino_loss(official["dino/student_logits"], official["dino/teacher_pair"])
    torch.testing.assert_close(ours, official["dino/loss_summed_over_pairs"], rtol=1e-6, atol=0)


@pytest.mark.golden
def test_ibot_loss_its_targets_and_centre_match(official):
    logits, masks = official["ibot/teacher_logits"], official["ibot/masks"]
    center = torch.zeros(logits.shape[-1])
    targets = center_targets(logits, center, 0.05)
    torch.testing.assert_close(targets, official["ibot/teacher_probs"], rtol=0, atol=1e-6)
    ours = ibot_loss(official["ibot/student_logits"], targets, masks)
    torch.testing.assert_close(ours, official["ibot/loss"], rtol=1e-6, atol=0)
    center = update_center(center, logits.mean(0))
    torch.testing.assert_close(center, official["ibot/center_after"].flatten(), rtol=0, atol=1e-6)


@pytest.mark.golden
def test_koleo_loss_matches(official):
    torch.testing.assert_close(
        koleo_loss(official["koleo/features"]), official["koleo/loss"], rtol=0, atol=1e-6
    )


# Centering


def test_centering_is_a_softmax_of_what_is_above_the_centre():
    logits, center = random(4, 5), random(5, seed=1)
    expected = softmax((logits.double() - center.double()).numpy() / 0.07)
    np.testing.assert_allclose(center_targets(logits, center, 0.07), expected, atol=1e-6)


def test_a_centre_of_equal_numbers_changes_nothing_and_a_vector_does():
    logits = random(4, 5)
    plain = center_targets(logits, torch.zeros(5), 1)
    torch.testing.assert_close(center_targets(logits, torch.full((5,), 0.3), 1), plain)
    lowered = center_targets(logits, torch.tensor([0.3, 0, 0, 0, 0]), 1)
    assert (lowered[:, 0] < plain[:, 0]).all() and (lowered[:, 1:] > plain[:, 1:]).all()


def test_centre_is_a_moving_average():
    center, mean = torch.zeros(3), torch.tensor([1.0, -2.0, 0.5])
    for _ in range(5):
        center = update_center(center, mean, 0.8)
    torch.testing.assert_close(center, (1 - 0.8**5) * mean)
    start = torch.ones(3)
    update_center(start, mean)
    assert (start == 1).all()  # pure: the old centre is left alone


# Sinkhorn-Knopp


@pytest.mark.parametrize("n_iterations", [1, 3, 10])
def test_sinkhorn_equals_the_official_order_of_steps(n_iterations):
    logits = random(11, 6)
    expected = official_order_sinkhorn(logits.numpy(), 0.2, n_iterations)
    np.testing.assert_allclose(sinkhorn_knopp(logits, 0.2, n_iterations), expected, rtol=1e-4, atol=1e-7)


def test_sinkhorn_shares_the_prototypes_equally():
    probs = sinkhorn_knopp(random(12, 4), 0.5, 200)
    torch.testing.assert_close(probs.sum(1), torch.ones(12))
    torch.testing.assert_close(probs.sum(0), torch.full((4,), 3.0), rtol=1e-4, atol=0)


def test_sinkhorn_does_not_see_a_shift_and_bears_large_logits():
    logits = random(8, 5)
    torch.testing.assert_close(
        sinkhorn_knopp(logits + 100, 0.05), sinkhorn_knopp(logits, 0.05), rtol=1e-2, atol=1e-4
    )
    for scale in (1e3, 1e6):
        probs = sinkhorn_knopp(logits * scale, 0.05)
        torch.testing.assert_close(probs.sum(1), torch.ones(8))
    unpopular = torch.tensor([[0.0, -1e4], [1.0, -1e4]])  # exp would make the second prototype 0 everywhere
    np.testing.assert_allclose(sinkhorn_knopp(unpopular, 1.0).sum(0), [1, 1], atol=0.2)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("sizes", [(6, 6), (9, 3), (12, 0), (1, 4, 7)])
@pytest.mark.parametrize("scale", [1, 30])
def test_sinkhorn_over_processes_equals_one_process(sizes, in_place, scale):
    logits = scale * random(12, 5)
    logits[:6] += 3 * scale  # the processes see logits of different size
    together = sinkhorn_knopp(logits, 0.3)
    all_reduce = SumOver(len(sizes), in_place)
    parts = in_processes(logits.split(sizes), lambda part: sinkhorn_knopp(part, 0.3, all_reduce=all_reduce))
    torch.testing.assert_close(torch.cat(parts), together, rtol=1e-4, atol=1e-6)


def test_sinkhorn_over_processes_bears_large_logits():
    logits = 1000 + random(8, 5)
    all_reduce = SumOver(2, in_place=True)
    parts = in_processes(logits.split(4), lambda part: sinkhorn_knopp(part, 0.3, all_reduce=all_reduce))
    torch.testing.assert_close(torch.cat(parts), sinkhorn_knopp(logits, 0.3), rtol=1e-2, atol=1e-3)


def test_sinkhorn_without_rows_is_empty():
    assert sinkhorn_knopp(torch.zeros(0, 5), 0.1).shape == (0, 5)


# Cross-entropy, entropy, KL


def test_cross_entropy_against_a_naive_one():
    student, teacher = random(3, 4, 6), random(3, 4, 6, seed=1).softmax(-1)
    expected = -(teacher.double().numpy() * np.log(softmax(student.double().numpy() / 0.1))).sum(-1)
    ours = cross_entropy(student, teacher, 0.1)
    assert ours.shape == (3, 4)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_cross_entropy_is_entropy_plus_kl():
    student, teacher = random(5, 7), random(5, 7, seed=1).softmax(-1)
    student_probs = (student / 0.3).softmax(-1)
    total = entropy(teacher) + kl_divergence(teacher, student_probs)
    torch.testing.assert_close(cross_entropy(student, teacher, 0.3), total)
    torch.testing.assert_close(kl_divergence(teacher, teacher), torch.zeros(5))


def test_entropy_of_known_distributions():
    probs = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4])
    torch.testing.assert_close(entropy(probs), torch.tensor([0, math.log(2), math.log(4)]))


def test_kl_of_known_distributions():
    half, one = torch.tensor([0.5, 0.5, 0]), torch.tensor([1.0, 0, 0])
    assert kl_divergence(one, half).item() == pytest.approx(math.log(2))
    assert kl_divergence(half, one).item() == math.inf


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher = random(6, 8).to(dtype), random(6, 8, seed=1).to(dtype)
    targets = center_targets(teacher, torch.zeros(8), 0.05)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, center_targets(teacher.float(), torch.zeros(8), 0.05))
    torch.testing.assert_close(sinkhorn_knopp(teacher, 0.05), sinkhorn_knopp(teacher.float(), 0.05))
    torch.testing.assert_close(
        cross_entropy(student, targets, 0.1), cross_entropy(student.float(), targets, 0.1)
    )
    assert entropy(teacher.softmax(-1)).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = dino_loss(student[None].float(), targets[None])
    torch.testing.assert_close(inside, dino_loss(student[None].float(), targets[None]))


# DINO


@pytest.mark.parametrize("skip_same_view", [False, True])
@pytest.mark.parametrize(("n_student", "n_teacher"), [(2, 2), (5, 2), (2, 3), (3, 1)])
def test_dino_loss_against_a_naive_loop(n_student, n_teacher, skip_same_view):
    student = random(n_student, 4, 6, dtype=torch.float64)
    teacher = random(n_teacher, 4, 6, seed=1, dtype=torch.float64).softmax(-1)
    expected = 0.0
    for s in range(n_student):
        for t in range(n_teacher):
            if not (skip_same_view and s == t):
                predicted = np.log(softmax(student[s].numpy() / 0.2))
                expected += np.mean([-(teacher[t, i].numpy() @ predicted[i]) for i in range(4)])
    ours = dino_loss(student, teacher, temperature=0.2, skip_same_view=skip_same_view)
    assert ours.item() == pytest.approx(expected, rel=1e-10)


def test_uniform_outputs_cost_ln_k_a_pair():
    student, teacher = torch.zeros(8, 3, 50), torch.full((2, 3, 50), 1 / 50)
    assert dino_loss(student, teacher).item() == pytest.approx(16 * math.log(50), rel=1e-6)
    assert dino_loss(student[:2], teacher, skip_same_view=True).item() == pytest.approx(
        2 * math.log(50), rel=1e-6
    )


# iBOT


def test_ibot_loss_against_a_naive_loop():
    masks = torch.tensor(
        [[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool
    )
    student = random(5, 4, 6, dtype=torch.float64)
    teacher = random(5, 4, 6, seed=1, dtype=torch.float64).softmax(-1)
    per_image = []
    for image in range(5):
        patches = [
            -(teacher[image, n].numpy() @ np.log(softmax(student[image, n].numpy() / 0.1)))
            for n in range(4)
            if masks[image, n]
        ]
        per_image.append(np.mean(patches) if patches else 0.0)
    ours = ibot_loss(student[masks], teacher[masks], masks)
    assert ours.item() == pytest.approx(np.mean(per_image), rel=1e-10)


def test_ibot_loss_without_a_masked_patch_is_zero_and_has_a_gradient():
    student = torch.zeros(0, 6, requires_grad=True)
    loss = ibot_loss(student, torch.zeros(0, 6), torch.zeros(3, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and student.grad.shape == (0, 6)


# KoLeo


def test_koleo_of_known_points():
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert koleo_loss(square).item() == pytest.approx(-math.log(math.sqrt(2)), abs=1e-6)
    opposite = torch.tensor([[2.0, 0, 0], [-5, 0, 0]])
    assert koleo_loss(opposite).item() == pytest.approx(-math.log(2), abs=1e-6)


def naive_koleo(features):
    units = features.double().numpy() / np.linalg.norm(features.double().numpy(), axis=1, keepdims=True)
    n = len(units)
    nearest = [min(np.linalg.norm(units[i] - units[j]) for j in range(n) if j != i) for i in range(n)]
    return -np.mean(np.log(nearest))


def test_koleo_against_a_naive_loop():
    features = random(9, 5)
    assert koleo_loss(features).item() == pytest.approx(naive_koleo(features), abs=1e-5)
    assert koleo_loss(7 * features).item() == pytest.approx(koleo_loss(features).item(), abs=1e-5)


def test_koleo_pushes_the_batch_apart():
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0]]) + 0.1 * random(6, 3), dim=1)
    features.requires_grad_(True)

    def smallest_distance():
        return torch.pdist(torch.nn.functional.normalize(features, dim=1)).min().item()

    before = smallest_distance()
    optimizer = torch.optim.SGD([features], lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        koleo_loss(features).backward()
        optimizer.step()
    assert smallest_distance() > 2 * before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_koleo_of_equal_features_stays_finite(dtype):
    features = torch.ones(4, 8, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = koleo_loss(features)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and loss > 10
    assert features.grad.isfinite().all()


def test_koleo_is_computed_in_float32_under_autocast():
    features = 1 + 0.05 * random(64, 8)  # so close together that bfloat16 would find other neighbours
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = koleo_loss(features)
    assert inside.item() == pytest.approx(naive_koleo(features), abs=1e-3)


# Gradients


def test_gradients_reach_the_student_only():
    masks = torch.tensor([[True, False], [True, True]])
    student = random(3, 6).requires_grad_(True)
    teacher = random(3, 6, seed=1).softmax(-1).requires_grad_(True)
    for loss in (
        cross_entropy(student, teacher, 0.1).sum(),
        dino_loss(student[None], teacher[None]),
        ibot_loss(student, teacher, masks),
    ):
        student.grad = None
        loss.backward()
        assert student.grad.abs().max() > 0 and teacher.grad is None
    logits = random(3, 6).requires_grad_(True)
    assert not center_targets(logits, torch.zeros(6), 0.1).requires_grad
    assert not sinkhorn_knopp(logits, 0.1).requires_grad
    assert not update_center(torch.zeros(6), logits.mean(0)).requires_grad


def test_gradient_of_cross_entropy_is_student_minus_teacher():
    student = random(4, 6).requires_grad_(True)
    teacher = random(4, 6, seed=1).softmax(-1)
    cross_entropy(student, teacher, 0.2).sum().backward()
    torch.testing.assert_close(student.grad, ((student / 0.2).softmax(-1) - teacher) / 0.2)


# Bad input


@pytest.mark.parametrize("temperature", [0, -0.1, math.inf, math.nan])
def test_temperatures_must_be_above_zero(temperature):
    logits, probs = random(2, 3), random(2, 3).softmax(-1)
    for call in (
        lambda: center_targets(logits, torch.zeros(3), temperature),
        lambda: sinkhorn_knopp(logits, temperature),
        lambda: cross_entropy(logits, probs, temperature),
        lambda: dino_loss(logits[None], probs[None], temperature=temperature),
        lambda: ibot_loss(logits, probs, torch.ones(1, 2, dtype=torch.bool), temperature=temperature),
    ):
        with pytest.raises(ValueError, match=r"temperature(: wanted| must be) a finite number"):
            call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: center_targets(random(2, 3), torch.zeros(1, 3), 0.1),
            r"center: wanted .*\(k: prototypes,\), got .*\(1, 3\)",
        ),
        (
            lambda: center_targets(random(2, 3), torch.zeros(4), 0.1),
            r"with k = 3 as in teacher_logits, got .*\(4,\)",
        ),
        (
            lambda: center_targets([[1.0]], torch.zeros(1), 0.1),
            r"got \[\[1.0\]\] \(list\): use torch.as_tensor",
        ),
        (
            lambda: update_center(torch.zeros(3), random(2, 4)),
            r"teacher_logits_mean: wanted .*\(k: prototypes,\)",
        ),
        (lambda: update_center(torch.zeros(3), random(3), 1.5), "momentum"),
        (
            lambda: sinkhorn_knopp(random(2, 3, 4), 0.1),
            r"shape \(m: rows, k: prototypes\), got .*\(2, 3, 4\)",
        ),
        (lambda: sinkhorn_knopp(random(2, 3), 0.1, 0), "n_iterations"),
        (
            lambda: cross_entropy(random(2, 3), random(2, 4), 0.1),
            "teacher_probs: .* with k = 3 as in student_logits",
        ),
        (lambda: cross_entropy(random(2, 3), random(3), 0.1), r"with \.\.\. = \(2,\) as in student_logits"),
        (lambda: dino_loss(random(2, 3), random(2, 3)), r"\(student_views, b: images, k: prototypes\)"),
        (lambda: dino_loss(random(2, 0, 3), random(2, 0, 3)), r"at least one image, got .*\(2, 0, 3\)"),
        (lambda: dino_loss(random(2, 4, 3), random(2, 5, 3)), "with b = 4 as in student_logits"),
        (lambda: dino_loss(random(1, 4, 3), random(1, 4, 3).softmax(-1), skip_same_view=True), "second view"),
        (
            lambda: ibot_loss(random(3, 4), random(3, 4).softmax(-1), torch.ones(2, 2, dtype=torch.bool)),
            "4 masked patches",
        ),
        (
            lambda: ibot_loss(random(3, 4), random(3, 4), torch.ones(1, 3)),
            r"masks: wanted a bool tensor .* True = masked",
        ),
        (
            lambda: ibot_loss(random(3, 4), random(2, 4), torch.ones(1, 3, dtype=torch.bool)),
            "with m = 3 as in",
        ),
        (
            lambda: ibot_loss(random(3, 4), random(3, 4), torch.ones(3, dtype=torch.bool)),
            r"masks: .*\(b: images, n\), True = masked",
        ),
        (lambda: koleo_loss(random(1, 4)), "at least 2 images, got 1: use a larger batch"),
        (lambda: koleo_loss(random(2, 3, 4)), r"features: wanted .*\(b: images, d: width\)"),
        (lambda: kl_divergence(random(2, 3), random(3, 3)), r"student_probs: .* with \.\.\. = \(2,\)"),
        (lambda: entropy([0.5, 0.5]), "probs: wanted a floating-point tensor"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
