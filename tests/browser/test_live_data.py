"""What the engine draws, cuts, masks, votes and says is what the package does with the same numbers."""

import math

import numpy as np
import pytest
import torch

from dinov2_edu.crops import normalize, solarize
from dinov2_edu.crops.colours import brightness_, contrast_
from dinov2_edu.crops.resizing import crop_views
from dinov2_edu.data.patterns import _draw
from dinov2_edu.experiments.ablations import ALL, load_runs
from dinov2_edu.losses import center_targets, koleo_loss, sinkhorn_knopp
from dinov2_edu.probe import knn_accuracy, knn_predict
from dinov2_edu.training.diagnosis import diagnose


def test_textures_are_the_packages(live):
    """The same uniform numbers give the same picture, in every class."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(10, 3, 30, generator=generator)
    tables = torch.rand(10, 3, 2, 16, 16, generator=generator)
    script = """return Array.from({ length: 30 }, (_, i) => live.drawPattern(Math.floor(i / 3),
      [...draws.data.subarray(30 * i, 30 * i + 30)], tables.data.subarray(512 * i, 512 * i + 512), 32));"""
    found = np.stack(live.run(script, draws=draws, tables=tables)).reshape(10, 3, 32, 32)
    for label in range(10):
        wanted = _draw(label, draws[label], tables[label], 32)[:, 0]
        errors = np.abs(found[label] - wanted.numpy())
        # Where single precision puts a point on the other side of a cell's border, a pixel differs.
        assert np.quantile(errors, 0.998) < 2e-4, label
        assert errors.max() < 0.31, label


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("contrast_first", [False, True])
def test_crops_are_the_packages(live, channels, flip, contrast_first):
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8, generator=generator).expand(
        1, channels, 32, 32
    )
    drawn = {"box": [3, 5, 20, 17], "flip": flip, "brightness": 1.3, "contrast": 0.7, "solarize": True}
    script = """const out = new Float32Array(2 + channels * 256);
      live.cutCrop(image.data, 0, 32, channels, drawn, 16, out, 2); return out;"""
    drawn |= {"contrastFirst": contrast_first}
    found = live.run(script, image=image.contiguous(), channels=channels, drawn=drawn)
    three = image.expand(1, 3, 32, 32).contiguous()
    boxes, flips = torch.tensor([[[3.0, 5.0, 20.0, 17.0]]]), torch.tensor([[flip]])
    crop = crop_views(three, boxes, 16, flips)[0]
    steps = [
        lambda x: brightness_(x, torch.tensor([1.3])),
        lambda x: contrast_(x, torch.tensor([0.7])),
    ]
    for step in reversed(steps) if contrast_first else steps:
        crop = step(crop)
    crop = solarize(crop)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if channels == 1:
        mean, std = (sum(mean) / 3,) * 3, (sum(std) / 3,) * 3
    wanted = normalize(crop, mean, std)[:, :channels]
    assert list(found[:2]) == [0, 0]
    np.testing.assert_allclose(found[2:], wanted.flatten(), atol=2e-4)


def test_a_batch_has_the_views_and_masks_that_a_step_wants(live):
    script = """
    const config = live.changed(live.PRESETS.minute, { vit: { patch_size: 2 } });
    const world = new live.Patterns10(40, 7);
    world.draw();
    const uniform = live.uniforms(3), chosen = [3, 3, 17, 39];
    const many = Array.from({ length: 200 }, () => live.maskBatch(16, 8, config, uniform));
    return { batch: live.drawBatch(world, chosen, config, uniform), many, labels: world.labels, bytes: world.bytes };
    """
    found = live.run(script)
    batch = found["batch"]
    assert len(batch["globals"]) == 2 * 4 * 16 * 16 and len(batch["locals"]) == 4 * 4 * 8 * 8
    assert len(batch["drawn"]) == 6 * 4 and list(found["labels"][:12]) == [*range(10), 0, 1]
    assert 0.1 < np.std(found["bytes"] / 255) < 0.3
    sizes = [one["box"][2] * one["box"][3] / 32**2 for one in batch["drawn"]]
    assert all(0.25 < size <= 1 for size in sizes[:8]) and all(0.1 < size < 0.45 for size in sizes[8:])
    crops = batch["globals"].reshape(2, 4, 256)
    assert not np.allclose(crops[0, 0], crops[0, 1])  # the same picture, drawn anew
    counts = np.stack(found["many"]).reshape(200, 16, 64).sum(-1)
    assert ((counts > 0).sum(1) == 8).all() and counts.max() <= 32
    assert 0.2 < counts[counts > 0].mean() / 64 < 0.32  # asked for: 0.1 to 0.5, and often a few less


def test_targets_and_koleo_are_the_packages(live):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(24, 16, generator=generator)
    logits[:, 5] = -40.0  # a prototype that nobody likes
    center = torch.randn(16, generator=generator)
    script = """const center64 = Float64Array.from(center.data);
      return { sinkhorn: live.sinkhornKnopp(logits.data, 16, 0.05),
        centering: live.makeTargets(logits.data, 16, center64, 0.05, "centering"),
        none: live.makeTargets(logits.data, 16, center64, 0.05, "none"),
        koleo: live.koleoLoss(logits.data, new Float32Array(24 * 16), 0, 24, 16, 2) };"""
    found = live.run(script, logits=logits, center=center)
    wanted = {
        "sinkhorn": sinkhorn_knopp(logits, 0.05),
        "centering": center_targets(logits, center, 0.05),
        "none": center_targets(logits, torch.zeros(16), 0.05),
    }
    for name, probs in wanted.items():
        np.testing.assert_allclose(found[name].reshape(24, 16), probs, atol=2e-5, err_msg=name)
    assert found["koleo"] == pytest.approx(2 * float(koleo_loss(logits)), rel=1e-5)


@pytest.mark.parametrize(("n", "k"), [(300, 20), (12, 20)])
def test_knn_is_the_packages(live, n, k):
    generator = torch.Generator().manual_seed(3)
    centers = torch.randn(6, 10, generator=generator)
    labels, wanted = torch.arange(n) % 6, torch.arange(90) % 6
    known, asked = (centers[of] + torch.randn(len(of), 10, generator=generator) for of in (labels, wanted))
    script = """const engine = await live.Engine.create({ megabytes: 8 });
      const found = live.nearestRows(engine, known.data, asked.data, 10, k);
      return { votes: live.knnVotes(found, labels.data, 6),
        accuracy: live.knnAccuracy(engine, known.data, labels.data, asked.data, wanted.data, 10, { k }) };"""
    found = live.run(script, known=known, asked=asked, labels=labels, wanted=wanted, k=k)
    np.testing.assert_allclose(np.stack(found["votes"]), knn_predict(known, labels, asked, k), atol=2e-4)
    accuracy = knn_accuracy(known, labels, asked, wanted, k)
    assert found["accuracy"] == pytest.approx(accuracy) and 0.4 < accuracy < 1


def test_verdicts_on_the_recorded_runs_are_the_packages(live):
    """Every recorded run, whole and cut to several lengths, and a curve for each name that none of them has."""
    histories = []
    for run in load_runs(ALL).values():
        k = run.config["n_prototypes"]
        for share in (0.03, 0.1, 0.35, 1.0):
            end = max(1, math.ceil(len(run.history["loss"]) * share))
            histories.append((k, {name: values[:end] for name, values in run.history.items()}))
    names = ("loss", "target_entropy", "mean_target_entropy", "feature_spread")
    made = [(1.0, 3.46, 3.46, 0.9), (1.0, 0.1, 0.1, 0.9), (1.0, 2.0, 2.05, 0.9), (1.0, 1.0, 2.0, 0.01)]
    for numbers in (*made, (1.0, 3.46, 3.46, 0.01), (math.nan, 1.0, 2.0, 0.5)):
        histories.append((32, {name: [value] * 25 for name, value in zip(names, numbers, strict=True)}))
    script = "return histories.map(([k, history]) => live.diagnose(history, k));"
    as_sent = [
        [k, {name: [None if math.isnan(x) else x for x in h[name]] for name in names}] for k, h in histories
    ]
    found = live.run(script, histories=as_sent)
    seen = set()
    for verdict, (k, history) in zip(found, histories, strict=True):
        wanted = diagnose(history, k)
        assert verdict == {
            "name": wanted.name,
            "evidence": wanted.evidence,
            "advice": wanted.advice,
            "collapsed": wanted.collapsed,
        }
        seen.add(wanted.name)
    assert seen == {"learning", "plateau", "uniform", "one prototype", "constant", "features", "diverged"}
