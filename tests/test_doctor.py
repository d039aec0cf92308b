"""The doctor: every format read, every recorded and broken run named, what the log does not show left unknown."""

import json
import math
import random
from dataclasses import replace

import pytest
from tiny_training import QUIET, TINY, byte_images
from training_logs import BROKEN, RECORDED, lightning_text, official_rows, official_text

from dinov2_edu.experiments.commands import main
from dinov2_edu.training import FitOptions, build_state, fit
from dinov2_edu.training.doctor import examine, read_log
from dinov2_edu.training.doctor.causes import RULES
from dinov2_edu.training.doctor.words import WORDS

NAMED = {
    "healthy": ({"learning"}, None),
    "full": ({"learning"}, None),
    "dino_tuned": ({"learning"}, "no koleo"),
    "no_centering": ({"one prototype"}, "targets"),
    "no_sharpening": ({"plateau"}, "temperature"),
    "no_ema": ({"learning"}, "no lag"),
    "no_multicrop": ({"learning"}, "no crops"),
    "no_koleo": ({"learning", "astray"}, "no koleo"),
    "repair_centering": ({"learning"}, "logits"),  # heads that were certain of one prototype
    "repair_centering.1": ({"learning"}, None),
    "repair_sharpening": ({"plateau"}, None),
    "repair_koleo": ({"learning"}, None),
    "heads_centering": ({"learning"}, None),
    "heads_sharpening": ({"learning"}, None),
    "heads_koleo": ({"learning"}, None),
    "stage_dino": ({"uniform"}, "swings"),
    "stage_dino.1": ({"astray"}, "no koleo"),
    "stage_ibot": ({"uniform"}, "swings"),
    "stage_ibot.2": ({"learning", "astray"}, "no koleo"),
    "stage_koleo": ({"uniform", "constant"}, "swings"),
}
"""Recorded run -> its state, and the first suspect."""

FIRST = {
    "ours": {"normalisation": "alike", "momentum": "slow", "lr": "rate"},
    "bare": dict.fromkeys(("batch", "prototypes", "lr"), "fast")
    | {"normalisation": "alike", "momentum": "slow", "masks": None},
    "official": dict.fromkeys(("temperature", "normalisation", "shortcut", "leak"))
    | {"momentum": "slow", "lr": "rate"},
}
"""Of the broken logs, the first suspect where it is not called as the log is, by what the log holds. A bare history
does not say batch, recipe or weights of the loss; the official log has no temperature, entropies or k-NN."""


def names(findings) -> list[str]:
    return [cause.name for cause in findings.causes]


def first(findings) -> str | None:
    return next(iter(names(findings)), None)


def text(log: dict) -> str:
    return json.dumps(log)


@pytest.mark.parametrize("name", RECORDED)
def test_the_recorded_runs_are_named(name):
    findings = examine(read_log(text(RECORDED[name])))
    states, cause = NAMED.get(name) or NAMED[name.split(".")[0]]
    assert findings.state in states and first(findings) == cause, findings


@pytest.mark.parametrize("name", BROKEN)
def test_what_was_broken_is_named(name):
    """The first suspect is what was broken in all ten logs that have a config, and where the log shows it in others."""
    k = BROKEN[name]["config"]["n_prototypes"]
    found = {
        "ours": examine(read_log(text(BROKEN[name]))),
        "bare": examine(read_log(text({"history": BROKEN[name]["history"]})), k),
        "official": examine(read_log(official_text(BROKEN[name])), k),
    }
    for form, findings in found.items():
        assert first(findings) == FIRST[form].get(name, name), (form, findings)


def test_there_are_ten_broken_logs_and_each_cause_has_words():
    assert len(BROKEN) == 10
    assert set(RULES) == set(WORDS["causes"])


def test_a_run_broken_here_and_now_is_named():
    config = replace(TINY, teacher_temperature=(1.0, 1.0), steps=12)
    state = fit(build_state(config), byte_images(16), FitOptions(**QUIET))
    findings = examine(read_log(text({"config": config.to_dict(), "history": state.history})))
    assert findings.state in ("plateau", "uniform") and "temperature" in names(findings)


# The same curves from every format


@pytest.mark.parametrize("name", ["healthy", "no_multicrop", "full"])
def test_formats_agree(name):
    log = RECORDED[name]
    ours, official, csv = (read_log(one) for one in (text(log), official_text(log), lightning_text(log)))
    assert (ours.kind, official.kind, csv.kind) == ("ours", "official", "lightning")
    for other, curves in (
        (official, ("dino", "ibot", "koleo", "lr", "momentum")),
        (csv, ("dino", "loss", "lr")),
    ):
        for curve in curves:
            assert other.curves[curve].steps == ours.curves[curve].steps
            assert other.curves[curve].values == pytest.approx(ours.curves[curve].values)
    assert ours.curves["knn"].steps == log["history"]["knn_step"]
    assert official.facts["per_gpu"] and set(official.curves["batch"].values) == {64.0}


def test_json_lines_of_lightning_and_of_dino_are_read():
    lines = [{"step": i, "epoch": 0, "train_loss": 5.0, "train_loss/dino_global_loss": 2.0} for i in range(6)]
    log = read_log("\n".join(map(json.dumps, lines)))
    assert log.kind == "lightning" and log.curves["dino"].values == [3.0] * 6  # divided by 3, of 2 pairs
    lines = [{"train_loss": 9.0, "train_lr": 1e-3, "epoch": i} for i in range(6)]
    log = read_log("\n".join(map(json.dumps, lines)))
    assert log.facts["by_epoch"] and log.curves["lr"].values == [1e-3] * 6


def test_a_run_that_went_back_wrote_over_what_it_undid():
    lines = [{"iteration": i, "total_loss": float(t)} for t, i in enumerate((0, 10, 20, 30, 20, 30))]
    curve = read_log("\n".join(map(json.dumps, lines))).curves["loss"]
    assert curve.steps == [0, 10, 20, 30] and curve.values == [0, 1, 4, 5]


def test_the_last_line_may_be_cut_off():
    whole = official_rows([1.0] * 10)
    log = read_log(whole[:-60])
    assert len(log.curves["dino"].values) == 9 and "cut off" in log.notes[0]


# Held to ln K


@pytest.mark.parametrize(("k", "total"), [(65_536, "13.86"), (131_072, "14.73")])
def test_a_plateau_is_found_with_its_k_and_its_sum(k, total):
    findings = examine(read_log(official_rows([1.0] * 40, k=k)))
    assert (findings.state, findings.n_prototypes) == ("plateau", k)
    said = " ".join(findings.evidence)
    assert f"ln {k:,}" in said and f"the sum would be {total}" in said and "read off the loss" in said
    assert "lists half" in said and any("temperature" in one for one in findings.unseen)


@pytest.mark.parametrize(
    ("dino", "k", "state"),
    [
        ([1.0] * 40, 4096, "plateau"),
        ([1.02] * 40, 65_536, "plateau"),  # where an untrained network stands
        ([1.0] * 10 + [0.6] * 10 + [1.0] * 60, 65_536, "uniform"),
        ([0.9 * 0.7**i for i in range(60)], 65_536, "one prototype"),
        ([1.0 + 0.01 * i for i in range(40)], 65_536, "unstable"),
        ([1.02 - 0.01 * i for i in range(40)], 65_536, "falling"),
        ([1.02 - 0.01 * i for i in range(20)] + [0.8] * 80, 65_536, "unknown"),
        ([0.6] * 40, 65_536, "unknown"),
        ([1.0] * 4, 65_536, "unknown"),
    ],
)
def test_losses_alone_tell_what_they_can(dino, k, state):
    findings = examine(read_log(official_rows(dino, k=65_536 if k > 5000 else k)), k)
    assert findings.state == state
    assert findings.title == WORDS["states"][state][0]


def test_a_loss_at_another_k_than_the_one_given_is_said():
    findings = examine(read_log(official_rows([1.0] * 40, k=131_072)), 65_536)
    assert "It stands at ln 131,072, so is K 131,072 and not 65,536?" in findings.evidence


def test_k_may_be_guessed_from_the_start():
    findings = examine(read_log(official_rows([1.017 - 0.01 * (i > 30) for i in range(200)])))
    assert findings.n_prototypes == 65_536 and "guess" in findings.evidence[-1]


def test_a_bare_loss_at_ln_k_is_named_and_any_other_is_not():
    csv = "epoch,step,train_loss\n"
    at_ln_k = csv + "".join(f"0,{i},{9 - 0.1 * i if i < 7 else math.log(4096)}\n" for i in range(60))
    findings = examine(read_log(at_ln_k))
    assert (findings.state, findings.n_prototypes) == ("plateau", 4096)
    noise = random.Random(0)
    elsewhere = csv + "".join(f"0,{i},{6 + 2 / (1 + i) + 0.2 * noise.random()}\n" for i in range(60))
    findings = examine(read_log(elsewhere))
    assert (findings.state, findings.n_prototypes, findings.causes) == ("unknown", None, ())
    assert findings.title == "I don't know" and len(findings.unseen) == 6


def test_images_with_one_class_token_show_in_the_official_koleo():
    """15.6255 at the start and 15.6254 after 50 epochs, in a public thread: 13.86 and 0.1 times -log of 2e-8."""
    log = read_log(official_rows([1.0] * 40, koleo=17.6, current_batch_size=64.0))
    assert log.curves["loss"].values[-1] == pytest.approx(15.62, abs=0.01)
    assert first(examine(log)) == "equal"


def test_a_young_run_is_told_to_wait():
    warm = [
        {**json.loads(line), "lr": i * 1e-7} for i, line in enumerate(official_rows([1.01] * 12).splitlines())
    ]
    assert first(examine(read_log("\n".join(map(json.dumps, warm))))) == "young"


def test_the_length_of_a_run_is_read_off_its_momentum():
    lines = official_rows([1.0] * 50).splitlines()
    total, lines = 1_000, [json.loads(line) for line in lines]
    momenta = [1 - 0.002 * (math.cos(math.pi * i / total) + 1) / 2 for i in range(0, 500, 10)]
    lines = [{**line, "iteration": 10 * i, "mom": momenta[i]} for i, line in enumerate(lines)]
    (cause,) = (
        one for one in examine(read_log("\n".join(map(json.dumps, lines)))).causes if one.name == "slow"
    )
    assert "a mean of about 500 steps, and the run has 1,000." in cause.evidence


def test_a_spike_that_passed_is_no_end():
    log = json.loads(text(RECORDED["healthy"]))
    log["history"]["loss"][3] = log["history"]["koleo"][3] = math.inf
    assert examine(read_log(text(log))).state == "learning"
    log["history"]["dino_global"][-1] = log["history"]["loss"][-1] = math.nan
    findings = examine(read_log(text(log)))
    assert findings.state == "diverged" and names(findings) == ["rate at the end"]


def test_a_spike_in_one_entropy_is_passed_over():
    log = json.loads(text(RECORDED["healthy"]))
    log["history"]["target_entropy"][20] = math.nan
    assert examine(read_log(text(log))).evidence == examine(read_log(text(RECORDED["healthy"]))).evidence


# Files that are no logs


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the log is empty: wanted history.json"),
        (" \n\n", "the log is empty"),
        ('{"iteration": 0, "total_loss": 1', 'line 1 of the log is cut off or no JSON: \'{"iteration"'),
        (
            '{"iteration": 0, "total_loss": 1.0}\n{"iterat\n{"iteration": 2, "total_loss": 1.0}\n',
            "line 2 of the log",
        ),
        ('{"config": {}, "history": {"step": [1, 2], "loss": [', "line 1 of the log is cut off or no JSON"),
        ('{"config": {}, "history": {"step": [1], "loss": [1.0, 2.0]}}', "2 values of loss at 1 steps"),
        ("name,price\nbread,3\nmilk,2\n", "no loss in this log, only price: wanted history.json"),
        ("a line of prose\nand another\n", "no loss in this log, nor any other number"),
        (b"\x80\x04\x95\x00\x01", "log.json is not text"),
        ("ab\0cd\n", "log.json is not text"),
        ("[" * 100_000 + "\n", "no loss in this log"),
        ("{" + "[" * 100_000 + "\n", "line 1 of the log is cut off"),
    ],
)
def test_what_is_no_log_is_explained(tmp_path, capsys, content, said):
    path = tmp_path / "log.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["doctor", str(path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and said in error and len(error) < 400


@pytest.mark.bad_input
def test_a_checkpoint_and_fifty_megabytes_are_refused_with_advice(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04\0\0")
    with pytest.raises(
        ValueError, match=r"is not text: the curves of a checkpoint\.pt are in the history\.json"
    ):
        read_log(tmp_path / "checkpoint.pt")
    with (tmp_path / "metrics.csv").open("wb") as file:
        file.truncate(50 * 2**20)
    with pytest.raises(ValueError, match="the log has 50 MB, wanted at most 32: keep every tenth line"):
        read_log(tmp_path / "metrics.csv")
    with pytest.raises(FileNotFoundError):
        read_log(tmp_path / "nothing.json")


# The command


def test_the_command_draws_curves_and_says_what_it_found(tmp_path, capsys):
    (tmp_path / "training_metrics.json").write_text(official_text(BROKEN["prototypes"])[:-3])
    assert main(["doctor", str(tmp_path), "--prototypes", "16384"]) == 0
    out = capsys.readouterr().out
    assert "DINO loss" in out and "█" in out and "A plateau at ln K" in out
    assert "Suspect 1: Too many prototypes for the batch" in out and "Not in this log:" in out
    assert "The last line is cut off" in out and max(map(len, out.splitlines())) <= 100
    path = tmp_path / "mine.json"
    path.write_text(text(RECORDED["healthy"]))
    assert main(["doctor", str(path)]) == 0
    out = capsys.readouterr().out
    assert "It is learning" in out and "Suspect" not in out and "k-NN accuracy" in out
