"""The teacher: official numbers, the closed form of a moving average, and what must not match silently."""

import pytest
import torch
from torch import nn

from dinov2_edu.ema import make_teacher, update_teacher

STEPS = [
    f"step_{targets}_{head}_head.npz"
    for targets in ("centering", "sinkhorn_knopp")
    for head in ("shared", "separate")
]


def tiny_model(seed=0, out=3):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, out), nn.BatchNorm1d(out))
    model(torch.randn(8, 4))  # fills the running statistics
    return model


@pytest.mark.golden
@pytest.mark.parametrize("file", STEPS)
def test_teacher_after_a_step_matches_the_official_one(golden, file):
    numbers = golden(file)
    names = [name.removeprefix("teacher_after/") for name in numbers if name.startswith("teacher_after/")]
    assert names

    def module(side):
        tensors = {name.replace(".", "_"): torch.from_numpy(numbers[f"{side}/{name}"]) for name in names}
        return nn.ParameterDict(tensors)

    teacher, student = module("teacher"), module("student")
    update_teacher(teacher, student, float(numbers["momentum"]))
    for name in names:
        expected = torch.from_numpy(numbers[f"teacher_after/{name}"])
        torch.testing.assert_close(teacher[name.replace(".", "_")].data, expected, rtol=0, atol=1e-6)


def test_teacher_starts_as_a_frozen_copy():
    student = tiny_model()
    teacher = make_teacher(student)
    assert not teacher.training and student.training
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert all(weight.requires_grad for weight in student.parameters())
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, teacher.state_dict()[name])
        assert tensor.data_ptr() != teacher.state_dict()[name].data_ptr()


def test_repeated_updates_follow_the_closed_form():
    teacher, student = make_teacher(tiny_model(1)), tiny_model(2)
    start = teacher[0].weight.clone()
    for _ in range(20):
        update_teacher(teacher, student, 0.9)
    expected = 0.9**20 * start + (1 - 0.9**20) * student[0].weight
    torch.testing.assert_close(teacher[0].weight, expected.detach())


@pytest.mark.parametrize(("momentum", "like"), [(1, "teacher"), (0.0, "student")])
def test_the_two_ends_are_exact(momentum, like):
    teacher, student = make_teacher(tiny_model(1)), tiny_model(2)
    expected = {
        name: w.detach().clone() for name, w in (teacher if like == "teacher" else student).named_parameters()
    }
    update_teacher(teacher, student, momentum)
    for name, weight in teacher.named_parameters():
        assert torch.equal(weight, expected[name])


def test_student_and_gradients_are_left_alone():
    teacher, student = make_teacher(tiny_model(1)), tiny_model(2)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    memory = teacher[0].weight.data_ptr()
    update_teacher(teacher, student, 0.5)
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert teacher[0].weight.data_ptr() == memory
    assert teacher[0].weight.grad_fn is None and student[0].weight.grad is None


def test_buffers_are_copied():
    teacher, student = make_teacher(tiny_model(1)), tiny_model(2)
    update_teacher(teacher, student, 0.99)
    assert torch.equal(teacher[1].running_mean, student[1].running_mean)
    assert torch.equal(teacher[1].num_batches_tracked, student[1].num_batches_tracked)


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_momentum_outside_0_to_1_is_refused(momentum):
    with pytest.raises(
        ValueError, match=r"momentum(: wanted a finite number| must lie between 0 and 1), got"
    ):
        update_teacher(make_teacher(tiny_model()), tiny_model(), momentum)


def test_what_differs_is_named_and_nothing_is_changed():
    student = tiny_model(1)
    other_shape = make_teacher(tiny_model(2, out=5))
    with pytest.raises(ValueError, match=r"parameter '0.weight' .*\(5, 4\) in the teacher"):
        update_teacher(other_shape, student, 0.9)
    more_layers = make_teacher(nn.Sequential(*tiny_model(2), nn.Linear(3, 3)))
    with pytest.raises(ValueError, match=r"parameter '2.bias' is in the teacher and not in the student"):
        update_teacher(more_layers, student, 0.9)
    with pytest.raises(ValueError, match=r"parameter '2.bias' is in the student and not in the teacher"):
        update_teacher(make_teacher(student), more_layers, 0.9)
    with pytest.raises(ValueError, match=r"parameter '0.weight' .*float64"):
        update_teacher(make_teacher(student).double(), student, 0.9)

    no_statistics = make_teacher(student)
    no_statistics[1].register_buffer("running_mean", None)
    before = no_statistics[0].weight.clone()
    with pytest.raises(ValueError, match=r"buffer '1.running_mean' is in the student"):
        update_teacher(no_statistics, tiny_model(2), 0.5)
    assert torch.equal(no_statistics[0].weight, before)
