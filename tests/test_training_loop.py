"""The loop: same numbers after a kill, one process or two, sentences when something is wrong, and a verdict."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from test_training_step import TINY, byte_images

from dinov2_edu.data import ImageSet
from dinov2_edu.ema import update_teacher
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.sparklines import TerminalCurves, sparkline
from dinov2_edu.notebook import live_curves
from dinov2_edu.plots.style import Figure
from dinov2_edu.training import (
    Batch,
    FitOptions,
    TrainingStopped,
    build_state,
    diagnose,
    draw_batch,
    fit,
    load_checkpoint,
    save_checkpoint,
    start_from,
    train_step,
)
from dinov2_edu.training import step as step_module
from dinov2_edu.training.loop import EpochOrder

QUIET = {"log_every": 1, "progress": False, "stop_on_collapse": False}


def weights(state) -> list[torch.Tensor]:
    return [
        *state.student_network.state_dict().values(),
        *state.teacher.state_dict().values(),
        *state.centers.values(),
    ]


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("stop", [1, 7, 19])
def test_stopping_and_resuming_changes_nothing(tmp_path, stop):
    images = byte_images(24)
    whole = fit(build_state(TINY), images, FitOptions(**QUIET))
    fit(build_state(TINY), images, FitOptions(**QUIET, folder=tmp_path), until=stop)
    resumed = load_checkpoint(tmp_path / "checkpoint.pt")
    assert resumed.step == stop
    fit(resumed, images, FitOptions(**QUIET))
    assert same(whole, resumed)
    assert whole.history == resumed.history


RUN = """
import sys, torch
from test_training_loop import QUIET, TINY, byte_images
from pathlib import Path
from dinov2_edu.training import FitOptions, build_state, fit, load_checkpoint
folder = Path(sys.argv[1])
path = folder / "checkpoint.pt"
state = load_checkpoint(path) if path.exists() else build_state(TINY)
watch = FitOptions(**QUIET, folder=folder, checkpoint_every=1, on_log=lambda s: print(s.step, flush=True))
fit(state, byte_images(24), watch)
"""


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_numbers(tmp_path):
    """SIGKILL at two points, which may lie inside a checkpoint's writing; the third start runs to the end."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}

    def start():
        command = [sys.executable, "-c", RUN, str(tmp_path)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    for n_steps, delay in ((1, 0.0), (6, 0.02)):
        process = start()
        for _ in range(n_steps):
            assert process.stdout.readline(), "the run did not come so far"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start().wait(timeout=120) == 0
    resumed = load_checkpoint(tmp_path / "checkpoint.pt")
    assert same(fit(build_state(TINY), byte_images(24), FitOptions(**QUIET)), resumed)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".part"] == ["checkpoint.pt"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    state = build_state(TINY)
    save_checkpoint(state, path)
    before = path.read_bytes()

    def full_disk(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(state, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.bad_input
def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(FileNotFoundError, match="start the run without resuming"):
        load_checkpoint(path)
    save_checkpoint(build_state(TINY), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut short or is no checkpoint"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="no checkpoint of this version"):
        load_checkpoint(path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_missing_gpu_is_not_blamed_on_the_checkpoint(tmp_path):
    save_checkpoint(build_state(TINY), tmp_path / "checkpoint.pt")
    with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):
        load_checkpoint(tmp_path / "checkpoint.pt", "cuda")


def test_a_new_run_starts_where_another_ended():
    images = byte_images(24)
    first = fit(build_state(TINY), images, FitOptions(**QUIET), until=6)
    larger = replace(
        TINY, crops=replace(TINY.crops, global_size=TINY.crops.global_size * 2), steps=3, warmup_steps=1
    )
    second = start_from(first, larger)
    assert same(first, second) and second.step == 0 and not second.history
    assert second.config == larger and not second.optimizer.state
    before = [tensor.clone() for tensor in weights(first)]
    fit(second, images, FitOptions(**QUIET))
    assert second.step == 3 and not same(first, second)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(first), strict=True)), (
        "the first is left alone"
    )


@pytest.mark.bad_input
def test_a_new_run_of_other_sizes_is_refused():
    with pytest.raises(ValueError, match="n_prototypes must stay"):
        start_from(build_state(TINY), replace(TINY, n_prototypes=TINY.n_prototypes + 1))


def test_every_image_once_an_epoch_in_a_new_order():
    order = EpochOrder(24, TINY)  # 3 batches of 8
    epochs = [torch.cat([order.batch(3 * epoch + i) for i in range(3)]) for epoch in range(2)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(24))
    assert not torch.equal(*epochs)
    assert torch.equal(EpochOrder(24, TINY).batch(4), epochs[1][8:16])


def test_interrupting_keeps_what_was_learnt(tmp_path):
    def interrupt(state):
        if state.step == 3:
            raise KeyboardInterrupt

    state = fit(build_state(TINY), byte_images(), FitOptions(**QUIET, folder=tmp_path, on_log=interrupt))
    assert state.step == 3 and load_checkpoint(tmp_path / "checkpoint.pt").step == 3


def test_an_interrupt_inside_a_step_waits_for_its_end(tmp_path, monkeypatch):
    """Ctrl-C between the student's update and the teacher's: the step is finished, and going on changes nothing."""
    images = byte_images(24)
    whole = fit(build_state(TINY), images, FitOptions(**QUIET))

    def interrupted_update(teacher, student, momentum):
        if not torch.equal(student.backbone.cls_token, build_state(TINY).student.backbone.cls_token):
            os.kill(os.getpid(), signal.SIGINT)
        update_teacher(teacher, student, momentum)

    monkeypatch.setattr(step_module, "update_teacher", interrupted_update)
    stopped = fit(build_state(TINY), images, FitOptions(**QUIET, folder=tmp_path))
    assert stopped.step == 2  # the warm-up's first step moves nothing
    monkeypatch.undo()
    resumed = fit(load_checkpoint(tmp_path / "checkpoint.pt"), images, FitOptions(**QUIET))
    assert same(whole, resumed) and whole.history == resumed.history


def test_evaluation_is_recorded():
    watch = FitOptions(**QUIET, evaluate=lambda backbone: float(backbone.config.width), evaluate_every=8)
    history = fit(build_state(TINY), byte_images(), watch).history
    assert history["knn_step"] == [8, 16, 20] and history["knn"] == [24.0] * 3


def test_the_same_seed_learns_the_same():
    """The seeded toy run, pinned: a refactor that changes a number is noticed."""
    config = replace(TINY, steps=6)
    losses = fit(build_state(config), byte_images(), FitOptions(**QUIET)).history["loss"]
    again = fit(build_state(config), byte_images(), FitOptions(**QUIET)).history["loss"]
    assert losses == again
    assert losses == pytest.approx([4.6103, 5.5936, 6.9653, 5.3970, 5.4094, 5.8064], rel=1e-3)
    assert (
        fit(build_state(replace(config, seed=1)), byte_images(), FitOptions(**QUIET)).history["loss"]
        != losses
    )
    # ln 32 from DINO, half of it from iBOT (half the crops are masked), less or more KoLeo.
    assert losses[0] == pytest.approx(1.5 * math.log(32), rel=0.2)


def test_learning_lowers_the_loss_on_one_batch():
    config = replace(TINY, steps=200, lr=(5e-3, 1e-3), teacher_temperature=(0.1, 0.1), momentum=(1.0, 1.0))
    state = build_state(config)
    batch = draw_batch(byte_images(), config, 0)
    losses = [float(train_step(state, batch)["loss"]) for _ in range(60)]
    assert losses[-1] < losses[0] - 0.3


def test_the_evaluator_draws_neighbours_of_every_class():
    """Labels that repeat in order, as those of Patterns10: every second image would miss half of the classes."""
    images = torch.zeros(40, 3, 16, 16, dtype=torch.uint8)
    labels = torch.arange(40) % 4
    images += (labels * 60)[:, None, None, None].to(
        torch.uint8
    )  # one brightness a class: a flat feature will do
    data = ImageSet(images, labels, ("a", "b", "c", "d"), "four greys")
    assert knn_evaluator(data, data, n_train=20)(build_state(TINY).teacher.backbone) == 1.0


@pytest.mark.bad_input
def test_too_few_images_and_bad_watches_are_refused():
    with pytest.raises(ValueError, match="7 images are fewer than a batch of 8"):
        fit(build_state(TINY), byte_images(7))
    with pytest.raises(ValueError, match="log_every must be at least 1"):
        FitOptions(log_every=0)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    state = build_state(TINY)
    save_checkpoint(state, tmp_path / "checkpoint.pt")
    with torch.no_grad():
        state.student.backbone.norm.weight.fill_(torch.nan)
    with pytest.raises(TrainingStopped, match=r"not a finite number at step 1.*lower the learning rate"):
        fit(state, byte_images(), FitOptions(**QUIET, folder=tmp_path))
    assert load_checkpoint(tmp_path / "checkpoint.pt").step == 0


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    """The loss is looked at when it is logged; a checkpoint may be due before."""
    save_checkpoint(build_state(TINY), tmp_path / "checkpoint.pt")
    state = build_state(TINY)
    with torch.no_grad():
        state.student.backbone.norm.weight.fill_(torch.nan)
    watch = FitOptions(**{**QUIET, "log_every": 5}, folder=tmp_path, checkpoint_every=1)
    with pytest.raises(TrainingStopped, match=r"a weight is not a finite number after step 1.*warm up"):
        fit(state, byte_images(), watch)
    assert load_checkpoint(tmp_path / "checkpoint.pt").step == 0


def test_a_run_that_collapses_after_learning_is_stopped():
    state = build_state(TINY)
    top = math.log(TINY.n_prototypes)
    state.history = {
        "loss": [3.0] * 10,
        "target_entropy": [0.3 * top] * 5 + [top] * 5,
        "mean_target_entropy": [0.9 * top] * 5 + [top] * 5,
        "feature_spread": [0.9] * 5 + [0.0] * 5,
        "step": list(range(10)),
    }
    with torch.no_grad():  # a teacher without a say: every image gets the uniform target
        for network in (state.teacher, state.student):
            network.dino_head.last_layer.weight_g.zero_()
    with pytest.raises(TrainingStopped, match=r"collapsed at step 1.*uniform"):
        fit(state, byte_images(), FitOptions(log_every=1, progress=False))


def curves(entropy: float, mean: float, spread: float = 0.9, loss: float = 5.0) -> dict:
    top = math.log(512)
    values = {
        "loss": loss,
        "target_entropy": entropy * top,
        "mean_target_entropy": mean * top,
        "feature_spread": spread,
    }
    return {name: [value] * 30 for name, value in values.items()}


@pytest.mark.parametrize(
    ("history", "name"),
    [
        (curves(0.4, 0.8), "learning"),
        (curves(1.0, 1.0), "uniform"),
        (curves(0.02, 0.02), "one prototype"),
        (curves(0.5, 0.503), "constant"),
        (curves(0.4, 0.8, spread=0.01), "features"),
        (curves(0.4, 0.8, loss=float("nan")), "diverged"),
    ],
)
def test_the_diagnosis_names_the_collapse(history, name):
    verdict = diagnose(history, 512)
    assert verdict.name == name
    assert verdict.collapsed == (name != "learning") == bool(verdict.advice)
    assert verdict.evidence.endswith(".")


@pytest.mark.bad_input
def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="history is empty"):
        diagnose({}, 512)


TWO = """
import sys
import torch
from test_training_loop import slices, without_warm_up
from dinov2_edu.training import build_state, train_step
from dinov2_edu.training.processes import process_group, rank

given, made = sys.argv[1:]
torch.set_num_threads(1)
with process_group("cpu"):
    found = {}
    for targets, batches in torch.load(given, weights_only=False).items():
        state = build_state(without_warm_up(targets))
        records = [train_step(state, slices(batch, rank())) for batch in batches]
        found[targets] = (state.student_network.state_dict(), state.teacher.state_dict(), state.centers, records)
    if rank() == 0:
        torch.save(found, made)
"""


def without_warm_up(targets: str):
    """A run whose first step already moves."""
    return replace(TINY, targets=targets, warmup_steps=0, separate_heads=True)


def slices(batch: Batch, process: int) -> Batch:
    """The half of a batch that one of two processes sees: images 0-3 or 4-7 of every crop."""

    def half(crops, n_crops):
        return crops.unflatten(0, (n_crops, -1))[:, process * 4 : process * 4 + 4].flatten(0, 1)

    return Batch(
        half(batch.global_crops, 2), half(batch.local_crops, TINY.crops.n_local), half(batch.masks, 2)
    )


@pytest.mark.slow
def test_two_processes_on_halves_equal_one_on_the_whole(tmp_path):
    """Losses, centres and weights after three steps, with centering and with Sinkhorn-Knopp."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}
    script, given, made = tmp_path / "two.py", tmp_path / "batches.pt", tmp_path / "made.pt"
    script.write_text(TWO)
    batches = {
        targets: [draw_batch(byte_images(), without_warm_up(targets), step) for step in range(3)]
        for targets in ("centering", "sinkhorn")
    }
    torch.save(batches, given)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*command, script, given, made], env=environment, check=True, timeout=240)
    for targets, (student, teacher, centers, theirs) in torch.load(made, weights_only=False).items():
        state = build_state(without_warm_up(targets))
        for batch, other in zip(batches[targets], theirs, strict=True):
            for name, value in train_step(state, batch).items():
                assert float(value) == pytest.approx(float(other[name]), abs=1e-5, rel=1e-5), (
                    f"{targets}: {name}"
                )
        pairs = (
            (state.student.state_dict(), student),
            (state.teacher.state_dict(), teacher),
            (state.centers, centers),
        )
        for ours, other in pairs:
            for name, value in ours.items():
                difference = (value - other[name]).abs().max()
                assert difference < 1e-5, f"{targets}: {name} differs by {difference:.1e}"


@pytest.mark.parametrize("alone", ["dino_weight", "ibot_weight", "koleo_weight"])
def test_one_loss_alone_trains_in_a_process_group(alone):
    """Though a head, or the mask token, then gets no gradient, which DistributedDataParallel has to be told."""
    losses = dict.fromkeys(("dino_weight", "ibot_weight", "koleo_weight"), 0.0) | {alone: 1.0}
    config = replace(without_warm_up("centering"), **losses)
    batches = [draw_batch(byte_images(), config, step) for step in range(3)]

    def run():
        state = build_state(config)
        return [train_step(state, batch)["loss"].item() for batch in batches]

    plain = run()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert run() == pytest.approx(plain, rel=1e-5)
    finally:
        dist.destroy_process_group()


# --- curves that grow


def test_a_sparkline_rises_and_falls_with_its_curve():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, 7, 0, 0], width=2) == "█▁"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert len(sparkline(range(100), width=7)) == 7


def test_terminal_curves_grow_with_the_run(capsys):
    watch = FitOptions(**QUIET, evaluate=lambda _: 0.25, evaluate_every=2)
    watch.on_log = TerminalCurves(every=2)
    fit(build_state(replace(TINY, steps=4)), byte_images(), watch)
    first, second = capsys.readouterr().out.split("after step ")[1:]
    assert first.startswith("2 of 4") and second.startswith("4 of 4")
    loss = [line for line in second.splitlines() if line.strip().startswith("loss")]
    assert len(loss) == 1 and sum(mark in "▁▂▃▄▅▆▇█" for mark in loss[0]) == 4
    assert "k-NN accuracy     0.250 ▁▁   0.250" in second


@pytest.fixture
def shell():
    """An IPython without a terminal, so that rich outputs go where a notebook's go."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_live_curves_are_one_output_that_is_updated(shell, monkeypatch):
    drawn, encoded = [], Figure.encoded
    monkeypatch.setattr(Figure, "encoded", lambda figure: drawn.append(figure) or encoded(figure))
    watch = FitOptions(**QUIET, on_log=live_curves(every=2))
    with capture_output() as captured:
        fit(build_state(replace(TINY, steps=5)), byte_images(), watch)
    first, *later = captured.outputs  # after steps 2, 4 and, the last, 5
    assert [output.update for output in (first, *later)] == [False, True, True]
    assert {output.transient["display_id"] for output in later} == {first.transient["display_id"]}
    assert len({output.data["image/png"] for output in captured.outputs}) == 3
    loss = next(axes for axes in drawn[-1].axes if axes.get_title(loc="left") == "loss")
    assert loss.lines[0].get_xdata()[-1] == 5


@pytest.mark.bad_input
def test_curves_refuse():
    with pytest.raises(ValueError, match="every must be at least 1"):
        live_curves(every=0)
    with pytest.raises(ValueError, match="every must be at least 1"):
        TerminalCurves(every=0)
    with pytest.raises(ValueError, match="at least one value"):
        sparkline([])
