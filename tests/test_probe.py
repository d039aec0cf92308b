"""Probes against naive loops, closed forms and scikit-learn; bad input; the command from end to end."""

import csv
import math
import shlex
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dinov2_edu.data import DataUnavailable, ImageSet, patterns10
from dinov2_edu.experiments import commands, inputs
from dinov2_edu.experiments.study_rows import run_study, study_preprocessings
from dinov2_edu.experiments.study_text import study_summary, study_table
from dinov2_edu.features import (
    CIFAR_MEAN,
    CIFAR_STD,
    OFFICIAL_EVAL,
    ExtractOptions,
    Preprocessing,
    extract_features,
)
from dinov2_edu.probe import (
    C_GRID,
    Trial,
    few_shot_curve,
    knn_accuracy,
    knn_predict,
    knn_report,
    logistic_probe,
    make_report,
    nearest,
)
from dinov2_edu.probe import knn as knn_module
from dinov2_edu.probe.logistic import _carried_over, _Fit
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights import LoadedBackbone


def clusters(n, *, classes=3, width=6, noise=1.0, seed=0, scales=True):
    """Rows around one centre a class; features of very different scale and offset."""
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99)) * 2
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    rows = centres[labels] + noise * torch.randn(n, width, generator=generator)
    return rows * torch.logspace(-2, 2, width) + 5 if scales else rows, labels


# -- k-NN


def test_knn_votes_equal_a_naive_loop():
    train, labels = clusters(40, scales=False)
    test, _ = clusters(9, noise=3.0, seed=1, scales=False)
    votes = knn_predict(train, labels, test, k=7, temperature=0.2)
    for row, query in enumerate(test):
        cosines = [float(torch.dot(query, other) / query.norm() / other.norm()) for other in train]
        expected = [0.0, 0.0, 0.0]
        for neighbour in sorted(range(40), key=lambda index: -cosines[index])[:7]:
            expected[int(labels[neighbour])] += math.exp(cosines[neighbour] / 0.2)
        expected = [value / sum(expected) for value in expected]
        assert votes[row].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_knn_weights_decide_between_neighbours():
    train = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    labels = torch.tensor([0, 1, 1])
    query = torch.tensor([[1.0, 0.5]])
    # The near one against two far ones: many count more when hot, the nearest alone when cold.
    assert knn_predict(train, labels, query, k=3, temperature=10.0).argmax() == 1
    assert knn_predict(train, labels, query, k=3, temperature=0.01).argmax() == 0
    assert knn_predict(train, labels, query, k=3, temperature=1e-4).isfinite().all()


def test_knn_in_chunks_is_the_same(monkeypatch):
    train, labels = clusters(50)
    test, _ = clusters(23, seed=1)
    whole = knn_predict(train, labels, test)
    monkeypatch.setattr(knn_module, "_SIMILARITIES_AT_ONCE", 150)  # three queries at a time
    torch.testing.assert_close(knn_predict(train, labels, test), whole)


def test_nearest_finds_the_row_itself_first():
    train, _ = clusters(30)
    similarities, indices = nearest(train, train[[4, 17]] * 3.0, k=2)
    assert indices[:, 0].tolist() == [4, 17]
    torch.testing.assert_close(similarities[:, 0], torch.ones(2))


def test_knn_accuracy_counts_what_is_right():
    train, labels = clusters(60, noise=0.1, scales=False)
    assert knn_accuracy(train, labels, *clusters(30, noise=0.1, seed=1, scales=False)) == 1.0
    wrong = (labels + 1) % 3
    assert knn_accuracy(train, labels, train, wrong, k=1) == 0.0
    assert knn_accuracy(train[:6], labels[:6], train, labels) > 0.3  # fewer rows than neighbours
    assert "k = 6," in knn_report(train[:6], labels[:6], train, labels).method


# -- report


@pytest.mark.parametrize(
    ("correct", "total", "wanted"),
    [(81, 263, (0.2553, 0.3662)), (0, 20, (0.0, 0.1611)), (20, 20, (0.8389, 1.0))],
)
def test_the_interval_is_wilsons(correct, total, wanted):
    """Newcombe 1998, table I, method 3."""
    labels = torch.zeros(total, dtype=torch.long)
    labels[correct:] = 1
    report = make_report(torch.tensor([[0.9, 0.1]]).expand(total, 2), labels)
    assert report.interval == pytest.approx(wanted, abs=5e-5)


def test_report_by_hand():
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.95, 0.05, 0.0]])
    report = make_report(probabilities, torch.tensor([0, 1, 1, 1]), ("a", "b", "c"), "probe")
    assert report.accuracy == 0.5 and report.predictions.tolist() == [0, 0, 1, 0]
    assert report.confusion.tolist() == [[1, 0, 0], [2, 1, 0], [0, 0, 0]]
    assert report.per_class[:2].tolist() == [1.0, pytest.approx(1 / 3)] and np.isnan(report.per_class[2])
    assert report.mistakes.tolist() == [3, 1]  # the surest mistake first
    # Bins of 1/15: 0.9 and 0.95 in the 14th and 15th, 0.6 in the 10th, 0.8 in the 13th.
    expected = (abs(1 - 0.9) + abs(0 - 0.6) + abs(1 - 0.8) + abs(0 - 0.95)) / 4
    assert report.calibration.error == pytest.approx(expected, abs=1e-6)
    assert report.calibration.counts.sum() == 4
    text = str(report)
    assert "50.00 % of 4" in text and "most often taken for a (2)" in text


def test_calibration_of_an_honest_guesser_is_small():
    generator = torch.Generator().manual_seed(0)
    confidence = 0.5 + 0.5 * torch.rand(20000, generator=generator)
    right = torch.rand(20000, generator=generator) < confidence
    probabilities = torch.stack([confidence, 1 - confidence], dim=1)
    honest = make_report(probabilities, torch.where(right, 0, 1))
    assert honest.calibration.error < 0.02
    boast = make_report(
        torch.stack([confidence * 0 + 0.999, confidence * 0 + 0.001], 1), torch.where(right, 0, 1)
    )
    assert boast.calibration.error == pytest.approx(0.999 - float(right.float().mean()), abs=1e-4)


def test_report_takes_labels_of_few_bits_and_probabilities_with_a_graph():
    truth = torch.arange(20, dtype=torch.int8)  # 19 x 20 does not fit into it
    probabilities = torch.eye(20, requires_grad=True) * 1
    assert make_report(probabilities, truth).confusion.tolist() == np.eye(20, dtype=int).tolist()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32])
def test_labels_of_any_whole_number_type_do(dtype):
    train, labels = clusters(60, noise=0.1, scales=False)
    assert knn_report(train, labels.to(dtype), train, labels.to(dtype)).accuracy == 1.0
    assert logistic_probe(train, labels.to(dtype), c=1.0).report(train, labels.to(dtype)).accuracy == 1.0


# -- logistic regression


def test_logistic_probe_equals_scikit_learn_on_standardised_rows():
    train, labels = clusters(120, noise=3.0)
    test, truth = clusters(60, noise=3.0, seed=1)
    probe = logistic_probe(train, labels, c=0.1)
    scaler = StandardScaler().fit(train.double())
    expected = LogisticRegression(C=0.1, max_iter=5000, tol=1e-8).fit(
        scaler.transform(train.double()), labels
    )
    np.testing.assert_allclose(
        probe.probabilities(test), expected.predict_proba(scaler.transform(test.double())), atol=2e-3
    )
    report = probe.report(test, truth, ("a", "b", "c"))
    assert report.accuracy == pytest.approx(expected.score(scaler.transform(test.double()), truth))
    assert probe.train_accuracy == pytest.approx(expected.score(scaler.transform(train.double()), labels))
    assert "C = 0.1" in report.method and probe.trials == ()


def test_c_is_chosen_on_held_out_rows_then_refitted():
    train, labels = clusters(90, width=40, noise=9.0)
    probe = logistic_probe(train, labels, c_grid=(1e-6, 1e-2, 1e2))
    best = max(trial.accuracy for trial in probe.trials)
    assert [trial.c for trial in probe.trials] == [1e-6, 1e-2, 1e2]
    assert probe.c == min(trial.c for trial in probe.trials if trial.accuracy == best)
    assert all(math.isnan(trial.test_accuracy) for trial in probe.trials)
    # The refit sees all rows, and where it begins makes no difference to where it ends.
    again = logistic_probe(train, labels, c=probe.c)
    refit, alone = probe.probabilities(train), again.probabilities(train)
    torch.testing.assert_close(refit, alone, atol=1e-3, rtol=0)
    # The held-out tenth is a tenth of each class, drawn from the generator.
    draws = [
        logistic_probe(
            train, labels, c_grid=(1e-2, 1.0), generator=torch.Generator().manual_seed(seed)
        ).trials
        for seed in (1, 1, 2)
    ]
    accuracies = [[trial.accuracy for trial in trials] for trials in draws]
    assert accuracies[0] == accuracies[1] != accuracies[2]
    assert all(round(9 * value, 6) == round(9 * value) for values in accuracies for value in values)


def test_held_out_rows_are_not_learnt():
    rows = torch.randn(90, 200, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (90,), generator=torch.Generator().manual_seed(1))
    probe = logistic_probe(rows, labels, c_grid=(1.0,))
    assert probe.train_accuracy == 1.0 and probe.trials[0].accuracy < 0.8  # noise can be learnt by heart only


def test_test_rows_choose_nothing():
    train, labels = clusters(90, width=40, noise=9.0)
    test, truth = clusters(90, width=40, noise=9.0, seed=5)
    plain = logistic_probe(train, labels)
    beside = logistic_probe(train, labels, test=(test, truth))
    assert beside.c == plain.c and all(math.isfinite(trial.test_accuracy) for trial in beside.trials)


def test_warm_start_ends_where_a_cold_start_does(monkeypatch):
    monkeypatch.setattr("dinov2_edu.probe.logistic._TRIAL_TOLERANCE", 1e-5)
    train, labels = clusters(150, width=10, noise=4.0)
    test, truth = clusters(100, width=10, noise=4.0, seed=2)
    path = logistic_probe(train, labels, c_grid=(1e-4, 1e-2, 1.0), test=(test, truth)).trials
    alone = logistic_probe(train, labels, c_grid=(1.0,), test=(test, truth)).trials
    assert path[-1].accuracy == alone[0].accuracy and path[-1].test_accuracy == alone[0].test_accuracy


def test_trials_end_sooner_and_the_refit_does_not():
    train, labels = clusters(200, width=30, noise=6.0)
    probe = logistic_probe(train, labels, c_grid=(1e-2,))
    rows = (train.numpy() - probe.mean) / probe.std
    p = probe.probabilities(train).double().numpy() - np.eye(3)[labels]
    n, weights = len(rows), probe.classifier.coef_.astype(np.float64)
    gradient = p.T @ rows.astype(np.float64) / n + weights / (probe.c * n)
    assert np.abs(gradient).max() < 1.2e-4  # by hand: the refit's


def test_a_classifier_carried_over_decides_alike():
    train, labels = clusters(90, noise=4.0)
    rows = train.numpy()
    mean, std, other_mean, other_std = rows.mean(0), rows.std(0), rows[:30].mean(0) + 1, 2 * rows[:30].std(0)
    classifier = LogisticRegression().fit((rows - mean) / std, labels)
    carried = _carried_over(_Fit(classifier, mean, std), other_mean, other_std)
    np.testing.assert_allclose(
        carried.predict_proba((rows - other_mean) / other_std),
        classifier.predict_proba((rows - mean) / std),
        atol=1e-4,
    )


def test_constant_feature_does_no_harm():
    train, labels = clusters(60)
    with_constant = torch.cat([train, torch.full((60, 1), 7.0)], dim=1)
    torch.testing.assert_close(
        logistic_probe(train, labels, c=0.1).probabilities(train),
        logistic_probe(with_constant, labels, c=0.1).probabilities(with_constant),
        atol=1e-4,
        rtol=1e-4,
    )


def test_class_without_training_rows_gets_probability_zero():
    train, labels = clusters(60)
    probe = logistic_probe(train, labels * 2, c=0.1)  # classes 0, 2, 4
    probabilities = probe.probabilities(train)
    assert probabilities.shape == (60, 5) and (probabilities[:, [1, 3]] == 0).all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(60))
    report = probe.report(train, labels * 2, ("a", "b", "c", "d", "e"))
    assert np.isnan(report.per_class[[1, 3]]).all() and report.accuracy > 0.9


def test_regression_that_stops_early_says_so(monkeypatch):
    monkeypatch.setattr("dinov2_edu.probe.logistic._MAX_ITERATIONS", 1)
    train, labels = clusters(90, noise=5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = logistic_probe(train, labels, c=10.0)
    assert "had not converged after 1 iterations" in str(probe.report(train, labels))


@pytest.mark.parametrize(("chosen", "at_an_end"), [(1e-3, True), (1e-2, False), (1e-1, True)])
def test_best_c_at_an_end_of_the_grid_says_so(monkeypatch, chosen, at_an_end):
    trials = tuple(Trial(c, 0.5, 0.0) for c in (1e-3, 1e-2, 1e-1))
    start = _Fit(logistic_probe(*clusters(60), c=1.0).classifier, np.zeros(6, "f4"), np.ones(6, "f4"))
    monkeypatch.setattr("dinov2_edu.probe.logistic._choose_c", lambda *given: (chosen, trials, start))
    notes = logistic_probe(*clusters(60)).notes
    assert any("lies at an end" in note for note in notes) == at_an_end


def test_the_official_grid():
    assert len(C_GRID) == 45 and C_GRID[0] == pytest.approx(1e-6) and C_GRID[-1] == pytest.approx(1e5)


# -- few labels


@pytest.mark.parametrize("method", ["logistic", "knn"])
def test_few_shot_curve_rises(method):
    train, test = clusters(300, noise=1.5, scales=False), clusters(300, noise=1.5, seed=1, scales=False)
    points = few_shot_curve(
        train, test, generator=torch.Generator().manual_seed(0), labels_per_class=(1, 5, 50), method=method
    )
    assert [point.labels_per_class for point in points] == [1, 5, 50]
    assert all(len(point.accuracies) == 5 and point.std >= 0 for point in points)
    assert points[0].mean < points[2].mean
    again = few_shot_curve(
        train, test, generator=torch.Generator().manual_seed(0), labels_per_class=(1, 5, 50), method=method
    )
    assert again == points


def test_few_shot_with_all_rows_is_the_whole_probe():
    train, test = clusters(30, noise=3.0), clusters(60, noise=3.0, seed=1)
    (point,) = few_shot_curve(
        train, test, generator=torch.Generator().manual_seed(0), labels_per_class=(10,), n_draws=2
    )
    whole = logistic_probe(*train, c=1.0).report(*test).accuracy
    assert point.accuracies == (pytest.approx(whole, abs=0.02),) * 2


# -- bad input

ROWS, LABELS = clusters(30)


@pytest.mark.parametrize(
    ("train", "labels", "test", "truth", "message"),
    [
        (
            ROWS.long(),
            LABELS,
            ROWS,
            LABELS,
            r"train: wanted \(?a floating-point tensor .* got \(?an int64 tensor",
        ),
        (ROWS[0], LABELS, ROWS, LABELS, r"train: .* shape \(n, d: width\).*, got"),
        (ROWS[:0], LABELS[:0], ROWS, LABELS, "holds no row"),
        (ROWS / 0, LABELS, ROWS, LABELS, "30 of 30 rows.*not finite"),
        (
            ROWS,
            LABELS[:7],
            ROWS,
            LABELS,
            r"labels: .* with n = 30 as in train, got|train: wanted .*30, 6.*\(7,\)",
        ),
        (
            ROWS,
            LABELS.float(),
            ROWS,
            LABELS,
            r"(labels|train): .*an integer tensor of shape \(n,\)\)?, got .*float32",
        ),
        (ROWS, LABELS - 1, ROWS, LABELS, "0 or above, got -1"),
        (ROWS, LABELS * 0, ROWS, LABELS * 0, "one class only"),
        (ROWS, LABELS, ROWS, LABELS + 1, r"classes \[3\].*no training picture"),
        (ROWS, LABELS, ROWS[:, :4], LABELS, "6 .*4"),
    ],
)
def test_rows_that_cannot_be_probed(train, labels, test, truth, message):
    with pytest.raises(ValueError, match=message):
        knn_report(train, labels, test, truth)
    with pytest.raises(ValueError, match=message):
        logistic_probe(train, labels, c=0.1).report(test, truth)
    with pytest.raises(ValueError, match=message):
        few_shot_curve((train, labels), (test, truth), generator=torch.Generator().manual_seed(0))


def test_settings_that_cannot_be_used():
    def refused(message, call):
        with pytest.raises(ValueError, match=message):
            call()

    def curve(**changes):
        return few_shot_curve((ROWS, LABELS), (ROWS, LABELS), generator=torch.Generator(), **changes)

    refused("k must lie in 1 to 30.*got 31", lambda: nearest(ROWS, ROWS, 31))
    refused("k must be at least 1, got 0", lambda: knn_predict(ROWS, LABELS, ROWS, k=0))
    refused("temperature", lambda: knn_predict(ROWS, LABELS, ROWS, temperature=0.0))
    refused("c must be a finite number above 0", lambda: logistic_probe(ROWS, LABELS, c=0.0))
    refused("c_grid", lambda: logistic_probe(ROWS, LABELS, c_grid=()))
    refused("c_grid", lambda: logistic_probe(ROWS, LABELS, c_grid=(1.0, -1.0)))
    refused("one training row.*pass c", lambda: logistic_probe(ROWS[:3], LABELS[:3]))
    refused("with d = 6 as in train, got", lambda: logistic_probe(ROWS, LABELS, test=(ROWS[:, :4], LABELS)))
    refused(
        "a class has only 10",
        lambda: curve(labels_per_class=(11,)),
    )
    refused("method", lambda: curve(method="svm"))
    refused("n_draws", lambda: curve(n_draws=0))
    refused(
        "labels_per_class",
        lambda: curve(labels_per_class=(0,)),
    )
    refused("class names", lambda: make_report(torch.ones(2, 3) / 3, LABELS[:2], ("a",)))
    refused("labels must lie in 0 to 2", lambda: make_report(torch.ones(2, 3) / 3, torch.tensor([0, 3])))
    refused("probabilities", lambda: make_report(torch.ones(2, 3) / 3, LABELS))


# -- the study and the command


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    config = ViTConfig(img_size=16, patch_size=8, width=16, depth=2, heads=2, layer_scale=None)
    model = VisionTransformer(config).eval()
    model.name = "toy"
    return LoadedBackbone(model, "toy", "A toy stands in.")


@pytest.fixture
def sets():
    return patterns10(120, split="train", size=16), patterns10(60, split="test", size=16)


def test_study_lists_every_combination_once():
    found = study_preprocessings((16, 224), 32)
    assert len(found) == len(set(found)) == 8 + 6 + 1  # shrinking; enlarging: one bilinear; official
    assert OFFICIAL_EVAL in found and all(
        how.antialias for how in found if how.size == 224 and how.interpolation == "bilinear"
    )
    assert len(study_preprocessings((32,), 32)) == 2  # nothing is resized: the two statistics
    with pytest.raises(ValueError, match="sizes is empty"):
        study_preprocessings((), 32)


def test_study_is_cached_and_its_summary_compares_pairs(backbone, sets, tmp_path):
    preprocessings = study_preprocessings((8, 24), 16)
    quiet = {"cache_dir": tmp_path, "options": ExtractOptions(progress=False)}
    rows = run_study(backbone.model, *sets, preprocessings, c_grid=(1e-3, 1.0), **quiet)
    again = run_study(backbone.model, *sets, preprocessings[:3], c_grid=(1e-3, 1.0), **quiet)
    assert len(rows) == len(preprocessings) == 14
    assert [row.report.accuracy for row in rows[:3]] == [row.report.accuracy for row in again]
    assert all("read from the cache" in row.provenance for row in again)
    assert rows[0].extract_seconds == again[0].extract_seconds > 0  # what it cost when it was made
    table = study_table(rows).splitlines()
    assert len(table) == 15 and len({len(line) for line in table}) == 1
    assert all(line.count("*") == 1 for line in table[1:])
    accuracy = {row.preprocessing: row.report.accuracy for row in rows}
    changes = [
        accuracy[Preprocessing(size, None, kind, antialias, CIFAR_MEAN, CIFAR_STD)]
        - accuracy[Preprocessing(size, None, kind, antialias)]
        for size, kind, antialias in (
            *product((8, 24), ("bicubic",), (True, False)),
            *((8, "bilinear", True), (8, "bilinear", False), (24, "bilinear", True)),
        )
    ]
    summary = study_summary(rows)
    assert f"instead of ImageNet's: {100 * np.mean(changes):+.2f} points (mean of 7)" in summary
    assert "size 24 instead of 8" in summary and "(mean of 6)" in summary and "C = 1 instead" in summary
    posted = 100 * np.mean([row.post.accuracy - row.report.accuracy for row in rows])
    assert f"the post's regression instead of ours: {posted:+.2f} points (mean of 14)" in summary
    assert summary.count("all of the post's choices") == 2  # at both sizes
    as_posted = next(
        row for row in rows if str(row.preprocessing).startswith("bilinear (antialiased) to 24, CIFAR")
    )
    assert f"all of the post's choices, size 24: {100 * as_posted.post.accuracy:.2f} %" in summary
    preferred = max(rows, key=lambda row: max(trial.accuracy for trial in row.probe.trials))
    assert summary.splitlines()[-2].endswith(str(preferred.preprocessing))


def test_the_posts_regression_is_the_plain_call(backbone, sets):
    half = Preprocessing(16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    row, other = run_study(
        backbone.model,
        *sets,
        [Preprocessing(16), half],
        c_grid=(1.0,),
        options=ExtractOptions(progress=False),
    )
    assert (row.statistics, other.statistics) == ("ImageNet", "other")
    learn, held = (
        extract_features(
            backbone.model, one, preprocessing=Preprocessing(16), options=ExtractOptions(progress=False)
        )
        for one in sets
    )
    plain = LogisticRegression(max_iter=1000).fit(learn.cls.double().numpy(), learn.labels.numpy())
    assert row.post.accuracy == plain.score(held.cls.double().numpy(), held.labels.numpy())
    assert row.post.iterations == plain.n_iter_[0] and row.post.seconds > 0


def test_the_publishing_workflow_runs_the_study():
    workflow = yaml.safe_load(
        (Path(__file__).parents[1] / ".github/workflows/publish.yml").read_text("utf-8")
    )
    steps = workflow["jobs"]["build"]["steps"]
    (step,) = [step for step in steps if "dinov2_edu study" in step.get("run", "")]
    line = next(line for line in step["run"].splitlines() if "dinov2_edu study" in line)
    arguments = commands.parse("study", shlex.split(line.split("dinov2_edu study")[1].split(">")[0]))
    assert arguments.weights == "vits14" and OFFICIAL_EVAL.size in arguments.sizes
    assert step["continue-on-error"]  # where the network gives no weights the book appears all the same
    uploaded = next(step for step in steps if "upload-pages" in step.get("uses", ""))["with"]["path"]
    assert f"mv study.txt study.csv {uploaded}/" in step["run"]
    assert steps.index(step) > next(at for at, other in enumerate(steps) if other.get("run") == "make book")


@pytest.fixture
def at_hand(monkeypatch, backbone, sets, tmp_path):
    """The command with the toy backbone and small data in place of what would be loaded."""
    monkeypatch.setattr(inputs, "available_backbone", lambda device: backbone)

    def some(split, n):
        whole = sets[0] if split == "train" else sets[1]
        return whole if n is None or n >= len(whole) else whole.subset(range(n))

    monkeypatch.setattr(inputs, "cifar10_or_patterns", some)
    return ["--cache", str(tmp_path / "cache")]


def test_command_probes_and_reports(at_hand, capsys):
    assert commands.main(["probe", *at_hand, "--limit", "50", "--size", "16"]) == 0
    out = capsys.readouterr().out
    assert "weighted k-NN" in out and "logistic regression, C = " in out and "of 50" in out
    assert "toy (width 16" in out and "sure and wrong" in out


def test_command_probes_several_layers(at_hand, capsys, backbone, sets):
    assert (
        commands.main(["probe", *at_hand, "--limit", "60", "--size", "16", "--c", "0.01", "--layers", "2"])
        == 0
    )
    out = capsys.readouterr().out
    few = [sets[0].subset(range(60)), sets[1]]
    wide = ExtractOptions(n_layers=2, progress=False)
    learn, held = (
        extract_features(backbone.model, one, preprocessing=Preprocessing(16), options=wide) for one in few
    )
    expected = logistic_probe(learn.linear_eval, learn.labels, c_grid=(0.01,))
    line = next(line for line in out.splitlines() if line.startswith("class tokens of the last 2 blocks"))
    assert line.endswith(expected.report(held.linear_eval, held.labels).headline)
    assert learn.linear_eval.shape[1] == 3 * 16


def test_command_study_prints_weights_data_and_table(at_hand, capsys, tmp_path):
    cells = tmp_path / "cells.csv"
    arguments = ["study", *at_hand, "--sizes", "24", "--c", "0.01", "1", "--out", str(cells)]
    assert commands.main(arguments) == 0
    out = capsys.readouterr().out
    assert (
        "Weights: toy. A toy stands in." in out
        and "Training: 120 pictures" in out
        and "bicubic, no antialias" in out
    )
    with cells.open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * 2 and sum(line["chosen"] == "True" for line in lines) == 6
    assert all(0 <= float(line["held_out_accuracy"]) <= 1 for line in lines)


def test_command_on_own_folders(at_hand, capsys, tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(40):
            path = tmp_path / split / ("dark", "light")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 100, (20, 16 + number % 5, 3)) + 150 * (number % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    (tmp_path / "test" / "dark" / "0.png").write_bytes(b"broken")
    folders = ["--train", str(tmp_path / "train"), "--test", str(tmp_path / "test")]
    assert commands.main(["probe", *at_hand, *folders]) == 2
    assert "0.png" in capsys.readouterr().err
    assert commands.main(["probe", *at_hand, *folders, "--skip-unreadable"]) == 0
    out = capsys.readouterr().out
    assert "skipped" in out and "of 39" in out
    assert commands.main(["probe", *at_hand, *folders, "--limit", "10", "--skip-unreadable"]) == 0
    assert "(part)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "argument --limit: must be at least 1"),
        (["--train", "somewhere"], "go together"),
        (["--train", "no/folder", "--test", "no/folder"], "there is no folder no/folder"),
        (["--weights", "vits99"], "there is no backbone 'vits99'"),
        (["--size", "17"], "--size 17 is not a multiple of the patch size"),
        (["--precision", "int4"], "argument --precision: invalid choice"),
        (["--device", "warp"], "--device warp cannot be used here: Expected one of cpu, cuda"),
        (["--layers", "0"], "argument --layers: must be at least 1"),
        (["--layers", "3"], "--layers must lie in 1 to 2 with toy, got 3"),
        (["--c", "-1"], "--c takes finite numbers above 0"),
        (["--c", "1", "--all-c"], "--c and --all-c both name the values of C"),
    ],
)
def test_command_refuses_with_a_sentence(at_hand, arguments, message, capsys):
    try:
        status = commands.main(["probe", *at_hand, *arguments])
    except SystemExit as end:  # what argparse refuses
        status = end.code
    assert status == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_command_says_when_data_is_missing_and_when_it_was_stopped(at_hand, monkeypatch, capsys):
    def fail(error):
        def raising(split, n):
            raise error

        return raising

    monkeypatch.setattr(inputs, "cifar10_or_patterns", fail(DataUnavailable("no network")))
    assert commands.main(["probe", *at_hand]) == 2 and "no network" in capsys.readouterr().err
    monkeypatch.setattr(inputs, "cifar10_or_patterns", fail(KeyboardInterrupt()))
    assert commands.main(["probe", *at_hand]) == 130 and "goes on from here" in capsys.readouterr().err


def test_a_size_that_does_not_fit_is_refused_before_anything_is_extracted(backbone, sets, monkeypatch):
    monkeypatch.setattr(
        "dinov2_edu.experiments.study_rows.extract_features", lambda *_, **__: pytest.fail("extracted first")
    )
    with pytest.raises(ValueError, match="multiples of the patch size 8, got 17"):
        run_study(backbone.model, *sets, [Preprocessing(size=16), Preprocessing(size=17)])


def test_study_needs_labels(backbone, sets):
    images = sets[0].images
    with pytest.raises(ValueError, match="needs labels"):
        run_study(
            backbone.model, images, images, [Preprocessing(size=16)], options=ExtractOptions(progress=False)
        )


def test_image_sets_of_one_class_are_refused(backbone, sets):
    one = ImageSet(sets[0].images[:8], torch.zeros(8, dtype=torch.int64), ("a",), "one class")
    with pytest.raises(ValueError, match="one class only"):
        run_study(backbone.model, one, one, [Preprocessing(size=16)], options=ExtractOptions(progress=False))
