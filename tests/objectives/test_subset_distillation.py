"""Distillation from all modalities to some: the divergence by its definition, and what a step of a model computes."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from scipy.stats import entropy
from small_models import batch, run, small

from rgbx.objectives.subset_distillation import distilled
from rgbx.train.loops import training_step

THREE = ("rgb", "depth", "thermal")


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergence_by_definition(temperature):
    """Pixel by pixel, by scipy's relative entropy."""
    g = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(2, 4, 3, 5, generator=g) for _ in range(2))
    total = 0.0
    for n in range(2):
        for y in range(3):
            for x in range(5):
                p, q = ((z[n, :, y, x].double() / temperature).softmax(0).numpy() for z in (teacher, student))
                total += temperature**2 * entropy(p, q)
    assert float(distilled(student, teacher, temperature)) == pytest.approx(total / 30, rel=1e-5)
    assert float(distilled(teacher, teacher, temperature)) == pytest.approx(0, abs=1e-6)


def test_the_teacher_gets_no_gradient():
    student, teacher = torch.randn(1, 3, 2, 2, requires_grad=True), torch.randn(1, 3, 2, 2, requires_grad=True)
    distilled(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def model_of(**options):
    model = small("classes", modalities=THREE, objectives=[{"name": "subset_distillation", **options}])
    model.set_epoch_seed(3)
    return model.train()


def test_a_step_teaches_the_branches_of_a_subset_by_the_joint_answer_of_all():
    model, data = model_of(temperature=2.0, labels=0.5), batch()
    frozen = copy.deepcopy(model)
    losses = run(model, data, "loss")
    # by hand: the same draw, on the network as it was, with norms as at test
    kept = frozen._subsets.draw()
    assert 0 < len(kept) < 3
    given = frozen.data_preprocessor(data)
    teacher = frozen.run(given["inputs"]).outputs["labels"]["ensemble"]
    for module in frozen.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    outputs = frozen.run({name: given["inputs"][name] for name in kept}).outputs["labels"]
    found = [distilled(x, teacher, 2.0) for name, x in outputs.items() if name != "ensemble"]
    assert len(found) == len(kept)
    torch.testing.assert_close(losses["loss_subset_distillation_teacher"], torch.stack(found).mean())
    own = sum(frozen.heads["labels"].task.losses(outputs, given["targets"]["labels"]).values())
    torch.testing.assert_close(losses["loss_subset_distillation_labels"], 0.5 * own)


def test_running_statistics_are_those_of_the_first_run():
    model, plain = model_of(), small("classes", modalities=THREE).train()
    plain.load_state_dict(model.state_dict())
    run(model, batch(), "loss"), run(plain, batch(), "loss")
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, dict(model.named_buffers())[name]), name


def test_draws_are_those_of_the_epochs_seed():
    def drawn(model, seed):
        model.set_epoch_seed(seed)
        return [model._subsets.draw() for _ in range(20)]

    first, second = model_of(), model_of()
    assert drawn(first, 1) == drawn(second, 1) != drawn(first, 2)
    assert len(first.draws) == 1 and small("classes").draws == []


@pytest.mark.parametrize("options", [dict(fusion="early"), dict(fusion="late"), dict()])
def test_training_runs_with_and_without_branches(options):
    model = small("both", modalities=THREE, objectives=["subset_distillation"], **options).train()
    logged = training_step(model, batch(), OptimWrapper(torch.optim.SGD(model.parameters(), 1e-3)))
    assert {"loss_subset_distillation_labels_teacher", "loss_subset_distillation_labels_labels"} <= set(logged)
    assert all(x.isfinite() for x in logged.values())


def test_one_modality_has_nothing_to_leave_out():
    model = model_of(labels=0)
    data = batch()
    alone = {key: x for key, x in data.items() if key.removesuffix("_valid") not in ("rgb", "thermal")}
    assert not any("distillation" in name for name in run(model, alone, "loss"))
    names = {name for name in run(model, data, "loss") if "distillation" in name}
    assert names == {"loss_subset_distillation_teacher"}


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("classes", dict(temperature=0), "temperature=0; expected a number above 0"),
        ("classes", dict(labels=-1.0), "labels=-1.0; expected a number of at least 0"),
        ("classes", dict(labels=True), "labels=True; expected a number of at least 0"),
        ("map", dict(), "needs a head of the task 'classes'; the model has {'normal': 'map'}"),
    ],
)
def test_mistakes(kind, options, told):
    with pytest.raises(ValueError, match=told.replace("{", r"\{")):
        small(kind, modalities=THREE, objectives=[{"name": "subset_distillation", **options}])


def test_one_modality_is_refused():
    with pytest.raises(ValueError, match=r"leaves modalities out; the model has \['rgb'\] alone"):
        small("classes", modalities=("rgb",), objectives=["subset_distillation"])
