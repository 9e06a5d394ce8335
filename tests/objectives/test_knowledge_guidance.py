"""Knowledge guidance: naive loops over pixels, the released parts' answers, and where gradients go."""

import copy
import math

import numpy as np
import pytest
import torch
from small_models import LABELS, NORMAL, batch, equal, run, small

from rgbx.objectives import Site, Step, build_objective, complete_objectives
from rgbx.objectives.knowledge_guidance import divergence, guidance_weights, inter_guidance, intra_guidance
from rgbx.tasks import Classes, Map, Target

NAMES = ("rgb", "depth", "thermal")


@pytest.fixture(scope="module")
def answers(companion):
    return {name: torch.from_numpy(np.asarray(values)) for name, values in companion("mim").answers.items()}


def close(found, expected):
    """Within 1e-5 of the largest value."""
    bound = 1e-5 * max(float(expected.abs().max()), 1e-12)
    torch.testing.assert_close(found.to(expected.dtype), expected, rtol=0, atol=bound)


def build(tasks, names=NAMES, *, merged=False, gated=False, **options):
    site = Site(names, (4, 8), tasks, merged=merged, gated=gated)
    return build_objective(complete_objectives([{"name": "knowledge_guidance", **options}])[0], site)


def made(names=NAMES, *, heads=("labels",), count=4, size=(3, 5), classes=6, seed=0, gated=False, void=()):
    """A step whose outputs and features are leaves; images of `void` have no label."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: (2 * torch.randn(*shape, generator=g)).requires_grad_()  # noqa: E731
    tasks, outputs, ungated, targets = {}, {}, {}, {}
    for head in heads:
        tasks[head] = Classes(head, num_classes=classes)
        outputs[head] = {name: draw(count, classes, *size) for name in (*names, "ensemble")}
        ungated[head] = {name: draw(count, classes, *size) for name in (*names, "ensemble")}
        label = torch.randint(0, classes, (count, *size), generator=g)
        label[:, 0, :2] = 255
        label[list(void)] = 255
        targets[head] = Target(label)
    inputs = {name: torch.zeros(count, 1, *size) for name in names}
    features = [{name: draw(count, c, 2, 3) for name in names} for c in (4, 8)]
    return Step(inputs, features, outputs, targets, tasks, (lambda: ungated) if gated else None)


def softmax(values):
    top = max(values)
    exps = [math.exp(v - top) for v in values]
    return [e / sum(exps) for e in exps]


def pixel_losses(logits, label):
    """The mean cross-entropy of each image over its labelled pixels, 0 without any; loops in doubles."""
    found = []
    for image, truth in zip(logits.tolist(), label.tolist(), strict=True):
        terms = [
            -math.log(softmax([plane[i][j] for plane in image])[t])
            for i, row in enumerate(truth)
            for j, t in enumerate(row)
            if t != 255
        ]
        found.append(sum(terms) / len(terms) if terms else 0.0)
    return found


def by_loops(step, head, temperature, unlabelled=True):
    """The guidance between modalities by the definition, image by image and pixel by pixel."""
    logits = {name: x.detach().double() for name, x in step.branches(head).items()}
    label = step.targets[head].truth
    losses = {name: pixel_losses(x, label) for name, x in logits.items()}
    values = []
    for n, truth in enumerate(label.tolist()):
        own = {name: found[n] for name, found in losses.items()}
        if not any(own.values()):
            continue
        teacher = min(own, key=own.get)
        inverse = {name: 1 / (1 + loss / sum(own.values())) for name, loss in own.items()}
        alpha = len(own) * inverse[teacher] / sum(inverse.values())
        total = 0.0
        for student in own:
            pixels = []
            for i, row in enumerate(truth):
                for j, t in enumerate(row):
                    if student == teacher or (t == 255 and not unlabelled):
                        continue
                    p, q = (softmax((logits[name][n, :, i, j] / temperature).tolist()) for name in (teacher, student))
                    pixels.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
            total += sum(pixels) / len(pixels) if pixels else 0.0
        values.append(alpha * temperature**2 * total)
    return sum(values) / len(values)


@pytest.mark.parametrize("names", [NAMES, NAMES[:2]], ids=len)
@pytest.mark.parametrize("options", [{}, dict(temperature=1.0), dict(temperature=4.0, unlabelled=False)], ids=str)
def test_between_modalities_it_is_a_loop_over_pixels(names, options):
    step = made(names, void=(2,))
    found = build(step.tasks, names, **options)(step)
    assert set(found) == {"inter"}
    expected = by_loops(step, "labels", options.get("temperature", 2.0), options.get("unlabelled", True))
    assert found["inter"].item() == pytest.approx(expected, rel=1e-5)


def test_weights_sum_to_the_number_of_modalities():
    losses = torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = guidance_weights(losses)
    torch.testing.assert_close(found.sum(1), torch.full((50,), 3.0, dtype=torch.float64))
    assert torch.equal(found.argmax(1), losses.argmin(1))  # who errs less weighs more
    assert guidance_weights(torch.zeros(2, 4)).tolist() == [[1.0] * 4] * 2


def test_per_sample_it_is_the_reference(answers):
    logits = [answers[f"pixel/logits_{name}"] for name in ("rgb", "depth")]
    losses = answers["pixel/losses"]
    weights = guidance_weights(losses)
    close(weights, answers["pixel/weights"])
    found = inter_guidance(logits, losses.argmin(1), weights, 2.0)
    close(found, answers["pixel/guidance"])
    close(found.mean(), answers["pixel/guidance_mean"])
    assert {0, 1} == set(losses.argmin(1).tolist())


class Told(Classes):
    """A task whose losses are given: {modality: [N]}."""

    told = None

    def sample_losses(self, outputs, target):
        return {name: self.told[name] for name in outputs}


def told(step, losses, head="labels"):
    """The step with a task that says these losses, {modality: [N]}."""
    task = Told(head, num_classes=step.tasks[head].channels)
    task.told = losses
    step.tasks[head] = task
    return step


def test_the_objective_is_the_reference(answers):
    step = told(made(NAMES[:2], classes=5), dict(zip(NAMES, answers["pixel/losses"].T, strict=False)))
    step.outputs["labels"].update({name: answers[f"pixel/logits_{name}"] for name in NAMES[:2]})
    close(build(step.tasks, NAMES[:2])(step)["inter"], answers["pixel/guidance_mean"])


def test_the_released_parts_are_the_authors(answers):
    names = ("l", "a", "v")
    features = [answers[f"kgs/feature_{name}"].clone().requires_grad_() for name in names]
    weights = guidance_weights(answers["kgs/losses"])
    close(weights, answers["kgs/weights"])
    each, reached = {}, 0
    for index, name in enumerate(names):
        teacher = torch.full((len(features[0]),), index)
        each[name] = inter_guidance(features, teacher, weights.expand(4, 3), 10.0, "released").mean()
        close(each[name], answers[f"kgs/distil_{name}"])
        gradients = torch.autograd.grad(each[name], features)
        assert not gradients[index].any()
        for student, gradient in zip(names, gradients, strict=True):
            if (norm := answers.get(f"gradnorm/kgs/distil_{name}/feature_{student}")) is not None:
                close(gradient.norm(), norm)
                reached += 1
    assert reached == 3
    close(each[names[answers["kgs/losses"].argmin()]], answers["kgs/inter"])


def test_the_released_form_is_the_authors(answers):
    """By the objective: one teacher for a batch, the features of the deepest stage, at which it looks."""
    names = ("l", "a", "v")
    drawn = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spread = answers["kgs/losses"] + drawn - drawn.mean(0)  # other teachers by image, the same means
    step = told(made(names), dict(zip(names, spread.T, strict=True)))
    assert len(set(spread.argmin(1).tolist())) > 1
    step.features[-1].update({name: answers[f"kgs/feature_{name}"][:, :, None, None] for name in names})
    found = build(step.tasks, names, form="released", temperature=10.0)(step)
    close(found["inter"], answers["kgs/inter"])


@pytest.mark.parametrize("better", ["masked", "unmasked"])
def test_within_a_modality_it_is_the_authors(answers, better):
    gated, ungated = (answers[f"kgs/{kind}_output"].clone().requires_grad_() for kind in ("masked", "unmasked"))
    value = intra_guidance(gated, ungated, torch.full((4,), better == "masked")).mean()
    close(value, answers[f"kgs/intra/{better}_better"])
    value.backward()
    for x, kind in ((gated, "masked"), (ungated, "unmasked")):
        expected = answers[f"kgs/intra/{better}_better/grad_{kind}"]
        close(torch.zeros_like(x) if x.grad is None else x.grad, expected)
        assert bool(expected.any()) == (kind != better)


@pytest.mark.parametrize("unlabelled", [True, False])
def test_within_a_modality_it_is_a_loop(unlabelled):
    step = made(gated=True, void=(1,))
    found = build(step.tasks, gated=True, inter=False, unlabelled=unlabelled)(step)
    assert set(found) == {"intra"}
    label, values, won = step.targets["labels"].truth, [], set()
    for n in (0, 2, 3):
        total = 0.0
        for name in NAMES:
            gated, ungated = step.branches("labels")[name], step.open_branches("labels")[name]
            won.add(pixel_losses(gated, label)[n] < pixel_losses(ungated, label)[n])
            squares = (gated - ungated).square()[n].mean(0)
            total += squares[label[n] != 255].mean().item() if not unlabelled else squares.mean().item()
        values.append(total)
    assert won == {True, False}
    assert found["intra"].item() == pytest.approx(sum(values) / 3, rel=1e-5)


def gradients(step, head="labels"):
    """The images of each branch that have a gradient, {modality: bool [N]}."""
    return {
        name: torch.zeros(len(x), dtype=torch.bool) if x.grad is None else (x.grad != 0).flatten(1).any(1)
        for name, x in step.branches(head).items()
    }


def test_gradients_reach_students_only():
    step = made(void=(3,))
    losses = torch.stack(
        [torch.tensor(pixel_losses(step.branches("labels")[name], step.targets["labels"].truth)) for name in NAMES]
    )
    build(step.tasks)(step)["inter"].backward()
    reached = torch.stack(list(gradients(step).values()))
    expected = torch.arange(3)[:, None] != losses.argmin(0)
    expected[:, 3] = False  # nobody knows who is right
    assert torch.equal(reached, expected)
    assert len(set(losses.argmin(0)[:3].tolist())) > 1
    assert step.outputs["labels"]["ensemble"].grad is None
    assert all(x.grad is None for stage in step.features for x in stage.values())


def test_so_do_those_within_a_modality():
    step = made(NAMES[:2], gated=True)
    label = step.targets["labels"].truth
    build(step.tasks, NAMES[:2], gated=True, inter=False)(step)["intra"].backward()
    for name in NAMES[:2]:
        gated, ungated = step.branches("labels")[name], step.open_branches("labels")[name]
        first, second = (torch.tensor(pixel_losses(x, label)) for x in (gated, ungated))
        assert torch.equal((gated.grad != 0).flatten(1).any(1), first >= second)
        assert torch.equal((ungated.grad != 0).flatten(1).any(1), first < second)


def test_the_gradient_is_that_of_the_loop():
    """KL's gradient on a student's logits: α t (softmax(student / t) − softmax(teacher / t)) / pixels / images."""
    t, step = 3.0, made(NAMES[:2], count=1, size=(2, 2))
    build(step.tasks, NAMES[:2], temperature=t)(step)["inter"].backward()
    losses = torch.tensor([pixel_losses(step.branches("labels")[n], step.targets["labels"].truth) for n in NAMES[:2]])
    best = int(losses[:, 0].argmin())
    alpha = guidance_weights(losses.T)[0, best]
    teacher, student = (step.branches("labels")[NAMES[k]] for k in (best, 1 - best))
    expected = alpha * t * ((student / t).softmax(1) - (teacher / t).softmax(1)) / 4
    torch.testing.assert_close(student.grad, expected.detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("form", ["sample", "released"])
def test_images_that_nobody_can_judge_are_left_out(form):
    """All void: an exact zero with no gradient; NaN or infinite losses of some: as if they were not in the batch."""
    step = made(void=range(4))
    found = build(step.tasks, form=form)(step)["inter"]
    found.backward()
    assert found.item() == 0
    losses = {name: torch.rand(4, generator=torch.Generator().manual_seed(i)) for i, name in enumerate(NAMES)}
    whole, kept = made(), [0, 2]
    losses["depth"][1], losses["rgb"][3] = torch.nan, torch.inf
    expected = Step(
        {name: x[kept] for name, x in whole.inputs.items()},
        [{name: x[kept] for name, x in stage.items()} for stage in whole.features],
        {"labels": {name: x[kept] for name, x in whole.outputs["labels"].items()}},
        {"labels": Target(whole.targets["labels"].truth[kept])},
        dict(whole.tasks),
    )
    first = build(whole.tasks, form=form)(told(whole, losses))["inter"]
    second = build(whole.tasks, form=form)(told(expected, {name: x[kept] for name, x in losses.items()}))["inter"]
    torch.testing.assert_close(first, second)
    first.backward()
    assert all(x.grad is None or x.grad.isfinite().all() for x in whole.branches("labels").values())


def test_half_precision_is_computed_in_float32():
    values = [torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(i)).bfloat16() for i in range(2)]
    found = divergence(values, torch.tensor([0, 1]), 2.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, divergence([v.float() for v in values], torch.tensor([0, 1]), 2.0))


def test_several_heads_are_guided_by_their_own_losses():
    step = made(heads=("labels", "parts"), gated=True)
    step.tasks["depth_map"] = Map("depth_map", unit="metre")
    found = build(step.tasks, gated=True)(step)
    assert set(found) == {"labels_inter", "labels_intra", "parts_inter", "parts_intra"}
    for head in ("labels", "parts"):
        assert found[f"{head}_inter"].item() == pytest.approx(by_loops(step, head, 2.0), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(merged=True), r"needs a branch of each modality; the fusion method merges \['rgb', 'depth', 'thermal'\]"),
        (dict(intra=True), "intra=True; the network has no gates: set purification in the model"),
        (dict(inter=False), "inter=False and nothing within modalities"),
        (dict(inter=False, gated=True, intra=False), "inter=False and nothing within modalities"),
        (dict(inter=1), "inter=1; expected True or False$"),
        (dict(intra="yes"), "intra='yes'; expected True or False, or None"),
        (dict(unlabelled=None), "unlabelled=None; expected True or False$"),
        (dict(form="samples"), "form='samples'; expected one of sample, released; did you mean 'sample'"),
        (dict(temperature=0), "temperature=0; expected a number above 0"),
        (dict(temperature=math.inf), "temperature=inf; expected"),
        (dict(temperature=10**400), "temperature=10+; expected a number above 0"),
        (dict(temperature="2"), "temperature='2'; expected"),
        (dict(temprature=2.0), "no option 'temprature'.*did you mean 'temperature'"),
    ],
)
def test_what_contradicts_is_refused(options, message):
    with pytest.raises(ValueError, match=f"^objective 'knowledge_guidance'.*{message}"):
        build({"labels": Classes("labels", num_classes=3)}, **options)


def test_a_model_without_class_logits_is_refused():
    with pytest.raises(ValueError, match=r"needs a head of the task 'classes'; the model has {'normal': 'map'}"):
        small("map", objectives=["knowledge_guidance"])
    with pytest.raises(ValueError, match="the fusion method merges"):
        small("classes", fusion="early", objectives=["knowledge_guidance"])


def test_a_model_adds_it_by_its_weight():
    torch.manual_seed(0)
    options = {"name": "knowledge_guidance", "weight": 0.25, "temperature": 1.0}
    plain, guided = small("both"), small("both", objectives=[options])
    data = batch()
    data["label"][1] = 255
    without, found = run(plain, data, "loss"), run(guided, data, "loss")
    extra = found.pop("loss_knowledge_guidance_labels_inter")
    assert set(found) == set(without) and all(torch.equal(found[key], x) for key, x in without.items())
    outputs = run(small("both"), data, "tensor")["labels"]
    target = {"labels": Target(data["label"])}
    step = Step({name: data[name] for name in ("rgb", "depth")}, [], {"labels": outputs}, target, guided.tasks)
    assert extra.item() == pytest.approx(0.25 * by_loops(step, "labels", 1.0), rel=1e-4)
    extra.backward()
    reached = {name.split(".")[0] for name, p in guided.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"backbone", "heads"}
    others = [p.grad for name, p in guided.named_parameters() if ".alpha." in name or ".normal." in name]
    assert others and not any(grad is not None and grad.any() for grad in others)


def test_subsets_of_modality_dropout():
    """A step of one modality has no guidance, one of two has that of these two."""
    model = small("classes", modalities=NAMES, modality_dropout=1.0, objectives=["knowledge_guidance"])
    seen = set()
    for seed in range(20):
        model.set_epoch_seed(seed)
        losses = run(model, batch(), "loss")
        present = tuple(name for name in NAMES if f"loss_{name}" in losses)
        seen.add(len(present))
        assert ("loss_knowledge_guidance_inter" in losses) == (len(present) > 1)
    assert 1 in seen
    step = made(NAMES)
    for head in step.outputs.values():
        del head["thermal"]
    del step.inputs["thermal"]
    found = build(step.tasks)(step)["inter"]
    assert found.item() == pytest.approx(by_loops(step, "labels", 2.0), rel=1e-5)


def test_a_model_of_one_modality_has_none():
    model = small("classes", modalities=("rgb",), objectives=["knowledge_guidance"])
    assert not any("guidance" in key for key in run(model, batch(), "loss"))


def test_two_heads_of_classes_in_a_model():
    parts = {**LABELS, "target": "part", "num_classes": 3}
    heads = {"labels": LABELS, "parts": parts, "normal": NORMAL}
    model = small(None, heads=heads, objectives=["knowledge_guidance"])
    data = copy.copy(batch())
    data["part"] = data["label"] % 3
    found = {key for key in run(model, data, "loss") if "guidance" in key}
    assert found == {"loss_knowledge_guidance_labels_inter", "loss_knowledge_guidance_parts_inter"}


def test_gates_of_a_network_are_guided():
    """Its own two passes, image by image; statistics of batch norm are those of a step without guidance."""
    options = dict(modalities=("rgb", "depth"), purification={"supervision": "literal", "hidden": 4})
    plain, guided = small("classes", **options), small("classes", objectives=["knowledge_guidance"], **options)
    steps = []
    guided.objectives["knowledge_guidance"].register_forward_pre_hook(lambda module, given: steps.append(given[0]))
    found = []
    for model in (plain, guided):
        torch.manual_seed(1)  # of the gates' noise
        found.append(run(model, batch(), "loss"))
    intra = found[1].pop("loss_knowledge_guidance_intra")
    found[1].pop("loss_knowledge_guidance_inter")
    assert equal(*found)
    (step,) = steps
    expected = 0.0
    for name in ("rgb", "depth"):
        gated, ungated = step.branches("labels")[name], step.open_branches("labels")[name]
        assert not torch.equal(gated, ungated)
        expected += (gated - ungated).square().mean().item()
    assert intra.item() == pytest.approx(expected, rel=1e-4)
    own, others = (dict(model.named_buffers()) for model in (guided, plain))
    assert any("running_mean" in name for name in own) and any("tracked" in name for name in own)
    assert equal(own, others)
    intra.backward()
    gates = [p.grad for name, p in guided.named_parameters() if ".purification." in name]
    assert any(gradient is not None and gradient.any() for gradient in gates)


def test_gates_are_guided_with_activations_that_are_computed_again():
    """Gradients are those of kept activations, and what is computed again of the open pass is in no statistics."""
    options = dict(modalities=("rgb", "depth"), purification={"supervision": "literal", "hidden": 4})
    guided = [small("classes", objectives=["knowledge_guidance"], **options) for _ in range(2)]
    plain = small("classes", **options)
    for model in (guided[1], plain):
        model.backbone.set_grad_checkpointing()
    for model in (*guided, plain):
        torch.manual_seed(1)
        sum(run(model, batch(), "loss").values()).backward()
    for (name, p), q in zip(guided[0].named_parameters(), guided[1].parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
    assert equal(dict(guided[1].named_buffers()), dict(plain.named_buffers()))
