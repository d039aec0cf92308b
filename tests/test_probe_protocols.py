"""The official evaluations by name, against their formulas written out; the paired test against scipy."""

import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy, normalize, one_hot, softmax

from dinov2_edu.data import patterns10
from dinov2_edu.experiments import commands, inputs
from dinov2_edu.features import ExtractOptions, Features, Preprocessing, extract_features
from dinov2_edu.features.runner import Runner
from dinov2_edu.features.sources import as_pictures
from dinov2_edu.probe import official_probe, paired_test, protocols
from dinov2_edu.probe.linear import INPUTS, LEARNING_RATES, LinearGrid, grid_accuracies, train_grid
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights import LoadedBackbone, load_backbone

QUIET = ExtractOptions(progress=False, precision="float32")


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = ViTConfig(img_size=16, patch_size=4, width=16, depth=5, heads=2, layer_scale=None)
    return VisionTransformer(config).eval().requires_grad_(False)


@pytest.fixture
def sets():
    return patterns10(300, split="train", size=16), patterns10(120, split="test", size=16)


def rows(n, seed, width=4):
    """Features of three classes that overlap; no two settings give the same accuracies."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    tokens = torch.randn(n, 2 * width, generator=generator)
    tokens[:, :3] += 1.5 * one_hot(labels, 3)
    names = ("a", "b", "c")
    return Features(tokens, width, torch.arange(n), labels, names, (), "by hand", 0.0, False)


def official_split(n):
    torch.manual_seed(0)
    indices = torch.randperm(n)
    return indices[n // 10 :], indices[: n // 10]


def test_logreg_finds_the_optimum_of_each_c_and_keeps_the_best_on_the_official_tenth():
    learn, asked = rows(400, 1), rows(200, 2)
    choices, report = protocols._logreg(learn, asked)
    kept, held = official_split(400)
    x, y, queries = learn.cls.double().numpy(), learn.labels.numpy(), asked.cls.double().numpy()
    grid = 10 ** torch.linspace(-6, 5, 45)
    expected = []
    for c in grid.tolist():  # another solver, of all classes at once in old scikit-learn too
        other = LogisticRegression(C=c, solver="newton-cg", tol=1e-10).fit(x[kept], y[kept])
        expected.append(float(other.score(x[held], y[held])))
    assert [choice.held_out for choice in choices] == pytest.approx(expected, abs=1e-9)
    c = grid[int(np.argmax(expected))].item()
    final = LogisticRegression(C=c, solver="newton-cg", tol=1e-10).fit(x, y)
    assert np.array_equal(report.predictions, final.predict(queries))
    assert np.allclose(report.confidence, final.predict_proba(queries).max(axis=1), atol=1e-4)
    assert f"C = {c:.3g}," in report.method and len({choice.test for choice in choices}) > 3


def test_knn_votes_as_the_official_module_does():
    learn, asked = rows(400, 3), rows(200, 4)
    choices, report = protocols._knn(learn, asked)

    def official(train, labels, queries):
        similarity = normalize(queries, dim=1) @ normalize(train, dim=1).T
        found, indices = similarity.topk(200)
        voices = one_hot(labels[indices], 3) * softmax(found / 0.07, dim=1)[..., None]
        return {k: voices[:, :k].sum(dim=1).argmax(dim=1) for k in (10, 20, 100, 200)}

    kept, held = official_split(400)
    test = official(learn.cls, learn.labels, asked.cls)
    chosen = official(learn.cls[kept], learn.labels[kept], learn.cls[held])
    assert [choice.setting for choice in choices] == [f"k = {k}" for k in test]
    for choice, k in zip(choices, test, strict=True):
        assert choice.test == pytest.approx((test[k] == asked.labels).double().mean().item())
        assert choice.held_out == pytest.approx((chosen[k] == learn.labels[held]).double().mean().item())
    best = max(chosen, key=lambda k: (chosen[k] == learn.labels[held]).sum())
    assert np.array_equal(report.predictions, test[best].numpy()) and f"k = {best}," in report.method


def test_the_grid_learns_as_sgd_written_out():
    width, steps, size = 3, 7, 8
    generator = torch.Generator().manual_seed(5)
    grid = LinearGrid(width, 4, torch.Generator().manual_seed(6))
    assert len(grid.settings) == 52 == len(INPUTS) * len(LEARNING_RATES)
    batches = [
        (torch.randn(size, 5 * width, generator=generator), torch.randint(4, (size,), generator=generator))
        for _ in range(steps)
    ]
    spread = torch.cat([one.weight.flatten() for one in grid.classifiers]).std()
    assert spread.item() == pytest.approx(0.01, rel=0.05)
    before = [(one.weight.detach().clone(), one.bias.detach().clone()) for one in grid.classifiers]
    train_grid(grid, batches, steps, size)
    cls, mean = slice(3 * width, 4 * width), slice(4 * width, 5 * width)
    reads = {
        (1, False): lambda x: x[:, cls],
        (1, True): lambda x: torch.cat([x[:, cls], x[:, mean]], dim=1),
        (4, False): lambda x: x[:, : 4 * width],
        (4, True): lambda x: x,
    }
    for (n_blocks, with_mean, rate), (weight, bias), one in zip(
        grid.settings, before, grid.classifiers, strict=True
    ):
        speeds = [torch.zeros_like(weight), torch.zeros_like(bias)]
        for step, (x, labels) in enumerate(batches):
            numbers = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
            logits = reads[n_blocks, with_mean](x) @ numbers[0].T + numbers[1]
            gradients = torch.autograd.grad(cross_entropy(logits, labels), numbers)
            speeds = [0.9 * speed + gradient for speed, gradient in zip(speeds, gradients, strict=True)]
            lr = rate * size / 256 * (1 + math.cos(math.pi * step / steps)) / 2
            weight, bias = weight - lr * speeds[0], bias - lr * speeds[1]
        torch.testing.assert_close(one.weight.detach(), weight)
        torch.testing.assert_close(one.bias.detach(), bias)
    x, labels = batches[0]
    right = (reads[4, True](x) @ grid.classifiers[-1].weight.T + grid.classifiers[-1].bias).argmax(dim=1)
    assert grid_accuracies(grid, x, labels)[-1] == (right == labels).float().mean()
    with pytest.raises(ValueError, match="wanted 9 batches, got 7"):
        train_grid(grid, batches, 9, size)


def test_training_crops_are_the_official_ones(model, sets):
    """Redrawn from the same numbers and cut out by PIL: 8 to 100 % of the area, bicubic, half of them mirrored."""
    pictures = as_pictures(sets[0].subset(range(40)))
    runner = Runner(model, "float32", 4, None, 16)
    generator = torch.Generator().manual_seed(3)
    batches = protocols._training_rows(runner, pictures, 16, 16, generator, False)
    seen = [
        next(batches) for _ in range(3)
    ]  # 40 pictures hold two whole batches of 16: the third shuffles anew
    again = torch.Generator().manual_seed(3)
    order = torch.randperm(40, generator=again)
    boxes = protocols.sample_boxes(16, (16, 16), (0.08, 1.0), generator=again)
    flips = torch.rand(16, generator=again) < 0.5
    cut = []
    for row, (top, left, height, width), flip in zip(order, boxes.tolist(), flips.tolist(), strict=False):
        one = Image.fromarray(pictures.images[row].permute(1, 2, 0).numpy())
        box = (left, top, left + width, top + height)
        one = one.crop(box).resize((16, 16), Image.Resampling.BICUBIC)
        array = np.asarray(one)[:, ::-1] if flip else np.asarray(one)
        cut.append(torch.from_numpy(array.copy()).permute(2, 0, 1))
    mean, std = (
        torch.tensor(three).view(3, 1, 1) for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    expected = runner((torch.stack(cut) / 255 - mean) / std)
    assert torch.equal(seen[0][1], pictures.labels[order[:16]])
    assert torch.cosine_similarity(seen[0][0], expected).min() > 0.999  # PIL rounds to bytes
    assert not torch.equal(seen[2][1], seen[0][1])
    assert 0 < flips.sum() < 16 and 0.08 < (boxes[:, 2] * boxes[:, 3] / 256).min() < 0.4


def test_each_protocol_prepares_pictures_as_its_script_does(model, sets, monkeypatch):
    monkeypatch.setattr(protocols, "C_GRID", (1e-4, 1e-2))
    whole = official_probe(model, *sets, "logreg", size=16, options=QUIET)
    centre = official_probe(model, *sets, "knn", size=16, options=QUIET)
    assert f"; {Preprocessing(16)};" in whole.provenance
    assert f"; {Preprocessing(16, resize=18)};" in centre.provenance  # 16 * 256 / 224 = 18.3
    assert str(Preprocessing(224, resize=round(224 * 256 / 224))).startswith(
        "bicubic (antialiased) to 256, centre 224"
    )
    learn, asked = (
        extract_features(model, one, preprocessing=Preprocessing(16, resize=18), options=QUIET)
        for one in sets
    )
    assert centre.choices == protocols._knn(learn, asked)[0]


def test_linear_chooses_on_the_held_out_tenth_and_says_what_the_script_would_report(model, sets):
    found = official_probe(model, *sets, "linear", size=16, steps=30, options=QUIET)
    assert len(found.choices) == 52
    best = max(found.choices, key=lambda one: one.held_out)
    assert found.report.accuracy == pytest.approx(best.test) and best.setting in found.report.method
    assert f"{100 * max(one.test for one in found.choices):.2f} %" in found.report.notes[0]
    assert "30 steps of 128" in found.report.method


@pytest.mark.slow
def test_the_books_backbone_beats_random_weights_by_every_protocol(monkeypatch):
    monkeypatch.setattr(protocols, "C_GRID", protocols.C_GRID[14:28:6])  # all 45 take minutes
    train, test = patterns10(500, split="train"), patterns10(300, split="test")
    for protocol in ("knn", "linear", "logreg"):
        reached = {}
        for name in ("random", "book"):
            found = official_probe(
                load_backbone(name), train, test, protocol, size=32, steps=20, options=QUIET
            )
            reached[name] = found.report.accuracy
            print(protocol, name, found.report.headline)
        assert reached["book"] > reached["random"] + 0.05


def test_what_cannot_be_evaluated_is_refused(model, sets):
    with pytest.raises(ValueError, match="protocol must be 'logreg' or 'linear' or 'knn'"):
        official_probe(model, *sets, "svm")
    with pytest.raises(ValueError, match="test pictures have no labels"):
        official_probe(model, sets[0], sets[1].images, "knn")
    short = VisionTransformer(ViTConfig(img_size=16, patch_size=4, width=16, depth=3, heads=2))
    with pytest.raises(ValueError, match="reads the last 4 blocks, this backbone has 3"):
        official_probe(short, *sets, "linear", size=16)
    with pytest.raises(ValueError, match="at least 10, got 9"):
        official_probe(model, sets[0].subset(range(9)), sets[1].subset([0]), "linear", size=16, options=QUIET)


def test_command_evaluates_by_an_official_protocol(model, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(40):
            path = tmp_path / split / ("dark", "light")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 100, (20, 16 + number % 5, 3)) + 150 * (number % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    monkeypatch.setattr(inputs, "available_backbone", lambda device: LoadedBackbone(model, "toy", ""))
    common = ["probe", "--train", str(tmp_path / "train"), "--test", str(tmp_path / "test"), "--size", "16"]
    common += ["--cache", str(tmp_path / "cache"), "--precision", "float32"]
    assert commands.main([*common, "--protocol", "linear", "--steps", "20"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"linear classifier, .*, 20 steps of 36: [\d.]+ % of 40", out)
    assert out.count("held-out 100.00 %") > 1 and out.count("held-out") == 5
    assert commands.main([*common, "--protocol", "knn"]) == 0
    assert "k = 200: held-out" in capsys.readouterr().out
    for wrong, message in (
        (["--c", "1"], "leave out --layers"),
        (["--steps", "3"], "goes with --protocol linear"),
    ):
        assert commands.main([*common, "--protocol", "knn", *wrong]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "train" / "dark" / "0.png").write_bytes(b"broken")
    assert commands.main([*common, "--protocol", "linear", "--steps", "3"]) == 2
    assert "0.png" in capsys.readouterr().err
    assert commands.main([*common, "--protocol", "linear", "--steps", "3", "--skip-unreadable"]) == 0


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (5, 0), (3, 9), (9, 3), (700, 640), (60, 20), (2000, 2500)]
)
def test_paired_test_is_the_exact_binomial_test(only_first, only_second):
    first = np.array([True] * only_first + [False] * only_second + [True] * 30 + [False] * 20)
    second = np.array([False] * only_first + [True] * only_second + [True] * 30 + [False] * 20)
    found = paired_test(first, second)
    n = only_first + only_second
    expected = binomtest(only_first, n, 0.5).pvalue if n else 1.0
    verdicts = {(5, 0): "no difference shown", (60, 20): "the first is better"}
    verdicts[2000, 2500] = "the second is better"
    assert verdicts.get((only_first, only_second), found.verdict) == found.verdict
    assert found[:2] == (only_first, only_second) and found.p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.bad_input
def test_a_paired_test_wants_pairs():
    with pytest.raises(ValueError, match="second"):
        paired_test(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(ValueError, match="at least one picture"):
        paired_test(np.ones(0, bool), np.ones(0, bool))
