"""A plan as a config to edit, as a record for programs, and as a table for a terminal."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence

from rgbx import __version__
from rgbx._text import text_table
from rgbx._types import Options
from rgbx.configure.dry_run import VALIDATED, model_options, training_transforms
from rgbx.configure.facts import Data, Machine
from rgbx.configure.planner import Plan, Trial, time_text

_WIDTH = 118


def config_text(data: Data, machine: Machine, plan: Plan, *, work_dir: str, command: str, device: str = "auto") -> str:
    """A whole config: imports of plain builders, values, and above each its reason.

    Args:
        data, machine, plan: what was found and chosen.
        work_dir: where the training goes.
        command: that wrote it, for its head.
        device: that it trains on; "auto" leaves that to the machine.
    """
    head = _head(data, machine, plan, command)
    return "\n".join(
        [
            head,
            _imports(data, plan),
            "",
            _datasets(data, plan, work_dir),
            _model(data, plan),
            _schedule(data, plan),
            _run(data, plan, device),
        ]
    )


def _head(data: Data, machine: Machine, plan: Plan, command: str) -> str:
    measured = data.measured
    goal = f" to {data.target}" if data.target else ""
    what = f"{' and '.join(data.modalities)}{goal} of {data.root.name}"
    lines = [
        *_wrapped(f"A training of {what}."),
        "",
        "Written by",
        "",
        f"    {command}",
        "",
        *_wrapped(
            f"Planned for {time_text(plan.planned)} of a budget of {time_text(plan.budget)} on {machine.name}, from "
            f"{measured.frames} of {data.train.frames} training frames and from measured steps. Every value is free to "
            "be edited: its reason stands above it, and with all figures in plan.json beside this file."
        ),
    ]
    if data.classes:
        lines += _wrapped(
            "Names of classes are not here: they are those of the folder's dataset.toml, where it has one, and may be "
            "edited there."
        )
    told = [*(f"Warning: {warning}" for warning in data.warnings), *(f"Note: {note}" for note in plan.notes)]
    for text in told:
        lines += ["", *_wrapped(text)]
    text = "\n".join(map(_printable, lines)).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return '"""' + text + '\n"""\n'


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(_printable(" ".join(text.split())), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _printable(text: str) -> str:
    """A text with Python's escapes in place of what is no letter, sign or blank, such as a line break."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _imports(data: Data, plan: Plan) -> str:
    every = ["EveryKth"] if max(plan["train_every"], plan["val_every"]) > 1 else []
    transforms = {item["type"].__name__ for item in training_transforms(data, plan["crop"])}
    builder = "multimodal_translator" if data.target else "multimodal_segmentor"
    constructor = (
        ["from rgbx.train.adversarial import AdversarialConstructor"] if data.target
        else []
    )  # fmt: skip
    return "\n".join(
        [
            "from mmengine.hooks import LoggerHook",
            "from mmengine.optim import LinearLR, PolyLR",
            "from mmengine.visualization import LocalVisBackend, TensorboardVisBackend, Visualizer",
            f"from torch.optim import {'Adam' if data.target else 'AdamW'}",
            "",
            f"from rgbx.datasets import {', '.join([*every, data.type.__name__])}",
            "from rgbx.evaluate.metric import Metrics",
            f"from rgbx.models import {builder}",
            *constructor,
            "from rgbx.train.checkpoint_hook import CheckpointHook",
            "from rgbx.train.console import ProgressBarHook",
            f"from rgbx.train.optim import AutocastOptimWrapper{'' if data.target else ', EncoderDecoderConstructor'}",
            f"from rgbx.transforms import {', '.join(sorted(transforms | {'PackSample'}))}",
        ]
    )


def _reason(plan: Plan, *names: str) -> str:
    """Comment lines with the reasons of choices."""
    lines = []
    for name in names:
        for line in _wrapped(f"{name}: {plan.choices[name].reason}"):
            lines.append(f"# {line}")
    return "\n".join(lines)


def _datasets(data: Data, plan: Plan, work_dir: str) -> str:
    shared = data.options if data.target else {**data.options, "modalities": data.modalities}
    options = "".join(f", {name}={_literal(value)}" for name, value in shared.items())
    same = len(data.measured.sizes) == 1
    crop, workers, batch = plan["crop"], plan["num_workers"], plan["batch_size"]
    steps = "".join(f"            {_call(item)},\n" for item in training_transforms(data, crop))
    train = f"[\n{steps}        ]"
    checked = min(VALIDATED, max(1, data.val.frames)) if same else 1
    sizes = (
        "frames are of one size" if same else f"frames are of {len(data.measured.sizes)} sizes, so that they come alone"
    )
    return f"""data_root = {_literal(str(data.root))}
work_dir = {_literal(work_dir)}

{_reason(plan, "layout", "modalities")}
dataset = dict(type={data.type.__name__}, root=data_root{options})
{_reason(plan, "train", "train_every", "crop", "batch_size", "drop_last", "num_workers")}
train_dataloader = dict(
    batch_size={batch},
    num_workers={workers},
    drop_last={plan["drop_last"]},
    dataset={_part(data.train.options, plan["train_every"], train)},
)
# batch_size: {sizes}
{_reason(plan, "val", "val_every")}
val_dataloader = dict(
    batch_size={checked},
    num_workers={workers},
    dataset={_part(data.val.options, plan["val_every"], "[dict(type=PackSample)]")},
)
{_reason(plan, "test")}
test_dataloader = dict(
    batch_size={checked},
    num_workers={workers},
    dataset={_part(data.test.options, 1, "[dict(type=PackSample)]")},
)
"""


def _part(options: Options, every: int, transforms: str) -> str:
    """A loader's dataset."""
    given = "".join(f"{name}={_literal(value)},\n        " for name, value in options.items())
    inner = f"dict(\n        {given}transforms={transforms},\n    )"
    return inner if every == 1 else f"dict(type=EveryKth, every={every}, dataset={inner})"


def _literal(value: object) -> str:
    """Python's text of a plain value, as ruff writes it."""
    if isinstance(value, str):
        return '"' + _printable(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(_literal, value)) + "," * (isinstance(value, tuple) and len(value) == 1)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    return repr(value)


def _numbers(values: Sequence[float]) -> str:
    """A list of many numbers on lines of their own."""
    text = ", ".join(f"{value:.4g}" for value in values)
    return (
        f"[{text}]" if len(text) < 60 else "[\n        " + "\n        ".join(textwrap.wrap(text + ",", 110)) + "\n    ]"
    )


def _call(options: Options) -> str:
    """A dict of a config on one line."""
    given = ", ".join(
        f"{name}={value.__name__ if name == 'type' else _literal(value)}" for name, value in options.items()
    )
    return f"dict({given})"


def _model(data: Data, plan: Plan) -> str:
    options = model_options(data, Trial(plan["backbone"], plan["crop"], plan["batch_size"]), plan["pretrained"])
    values = {name: value.__name__ if name == "type" else _literal(value) for name, value in options.items()}
    if not data.target:
        weights = plan["class_weights"]
        counted = f'dict(name="cross_entropy", class_weights={_numbers(weights or ())})'
        values["loss"] = '"cross_entropy"' if weights is None else counted
    values["modality_dropout"] = repr(plan["modality_dropout"])
    wanted = ("target", "ranges", "num_classes", "void", "backbone", "pretrained", "class_weights", "statistics")
    told = [name for name in (*wanted, "modality_dropout") if name in plan.choices]
    lines = "".join(f"    {name}={value},\n" for name, value in values.items())
    return f"{_reason(plan, *told)}\nmodel = dict(\n{lines})\n"


def _schedule(data: Data, plan: Plan) -> str:
    warmup = plan["warmup"]
    if warmup:
        rising = f"dict(type=LinearLR, start_factor=1e-3, begin=0, end={warmup}, convert_to_iter_based=True)"
        falling = f"dict(type=PolyLR, power=0.9, eta_min=0.0, begin={warmup}, convert_to_iter_based=True)"
    else:
        half = max(1, plan.choices["max_epochs"].measured["steps"] // 2)
        rising = f"dict(type=LinearLR, start_factor=1e-3, by_epoch=False, begin=0, end={half})"
        falling = f"dict(type=PolyLR, power=0.9, eta_min=0.0, by_epoch=False, begin={half})"
    told = [name for name in ("lr", "encoder_lr_mult", "dtype") if name in plan.choices]
    if data.target:
        kind, optimizer = "AdversarialConstructor", f"type=Adam, lr={plan['lr']:g}, betas=(0.5, 0.999)"
        parts = "dict()"
    else:
        kind, optimizer = "EncoderDecoderConstructor", f"type=AdamW, lr={plan['lr']:g}, weight_decay=0.01"
        parts = f"dict(encoder_lr_mult={plan['encoder_lr_mult']:g}, decoder_lr_mult=1.0)"
    return f"""{_reason(plan, "max_epochs", "val_interval")}
train_cfg = dict(by_epoch=True, max_epochs={plan["max_epochs"]}, val_interval={plan["val_interval"]})

{_reason(plan, *told)}
optim_wrapper = dict(
    type=AutocastOptimWrapper,
    constructor={kind},
    optimizer=dict({optimizer}),
    paramwise_cfg={parts},
    dtype="auto",
)
{_reason(plan, "warmup")}
param_scheduler = [
    {rising},
    {falling},
]
"""


def _run(data: Data, plan: Plan, device: str) -> str:
    placed = "" if device == "auto" else f"# device: as asked for\ndevice = {_literal(device)}\n"
    drawn = "pictures=4" if data.target else ""
    return f"""# The run is logged, saved so that it can be resumed, and the best by the first score is kept.
{_reason(plan, "checkpoint_interval")}
default_hooks = dict(
    logger=dict(type=LoggerHook, interval=50),
    checkpoint=dict(type=CheckpointHook, interval={plan["checkpoint_interval"]}, max_keep_ckpts=2, save_best="auto"),
    progress=dict(type=ProgressBarHook),
)
val_cfg = dict({drawn})
val_evaluator = dict(type=Metrics)
test_cfg = dict()
test_evaluator = dict(type=Metrics)
visualizer = dict(type=Visualizer, vis_backends=[dict(type=LocalVisBackend), dict(type=TensorboardVisBackend)])
randomness = dict(seed=0, deterministic=False)
{placed}"""


def plan_record(data: Data, machine: Machine, plan: Plan, *, asked: Options) -> str:
    """The plan as JSON.

    Args:
        data, machine, plan: what was found and chosen.
        asked: the options by which it was planned, of plain values.
    """
    record = {
        "rgbx": __version__,
        "folder": str(data.root),
        "layout": data.layout,
        "budget_seconds": plan.budget,
        "planned_seconds": plan.planned,
        "asked": dict(asked),
        "machine": vars(machine),
        "sample": {"frames": data.measured.frames, "of": data.train.frames, "standard_error": data.measured.error},
        "warnings": list(data.warnings),
        "notes": list(plan.notes),
        "choices": [vars(choice) for choice in plan.choices.values()],
    }
    return json.dumps(record, indent=2, default=list) + "\n"


def summary(data: Data, plan: Plan) -> str:
    """The choices that matter most, a line each."""
    crop = "x".join(map(str, plan["crop"]))
    statistics = plan["statistics"] if "statistics" in plan.choices else {}
    weighted = ", rare ones weighted" if "class_weights" in plan.choices and plan["class_weights"] else ""
    goal = ("target", data.target) if data.target else ("classes", f"{len(data.classes)}{weighted}")
    figures = "; ".join(f"{name} {_figures(v['mean'])} ± {_figures(v['std'])}" for name, v in statistics.items())
    same = data.test.options == data.val.options
    scored = f"{data.val.frames} val = test" if same else f"{data.val.frames} val, {data.test.frames} test"
    rows = [
        ("folder", data.layout),
        ("frames", f"{data.train.frames} train, {scored}"),
        ("maps", ", ".join(data.modalities) + (f"; {figures}" if figures else "")),
        goal,
        ("network", f"{plan['backbone']}, weights: {plan['pretrained'] or 'none'}"),
        ("batch", f"{plan['batch_size']} crops of {crop}, {plan['num_workers']} workers"),
        ("training", f"{plan['max_epochs']} epochs, lr {plan['lr']:g}, validated every {plan['val_interval']}"),
        ("time", f"{time_text(plan.planned)} of {time_text(plan.budget)}"),
    ]
    return text_table(("choice", "value"), [(name, textwrap.shorten(value, 100)) for name, value in rows], texts=2)


def _figures(values: list[float]) -> str:
    return "/".join(f"{value:.3g}" for value in values)
