"""What of a config differs from the run that it resumes: applied or refused, each told by its path, never ignored.

A resumed run is built from the config that it is given, and takes from the checkpoint the model's weights, the state of
optimizer and schedules, the seed and the best score. So a change takes effect unless one of these holds it.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper, OptimWrapperDict, ReduceOnPlateauParamScheduler, _ParamScheduler

from rgbx._types import Options, State
from rgbx.models.recipe import (
    TRAINING,
    TRAINING_OF_GATES,
    TRAINING_OF_HALLUCINATION,
    TRAINING_ONLY,
    check_recipe,
)
from rgbx.train.flat import Flat, changes, flatten

Schedules = list[_ParamScheduler] | dict[str, list[_ParamScheduler]] | None
Hyperparameters = dict[str, list[dict[str, Any]]]  # by optimizer, each group's values beside its parameters

NO_CHANGE = ("load_from", "resume", "model.pretrained", "randomness.seed")  # resuming itself sets or tells these
PLACE = "work_dir"  # whose path no checkpoint needs to hold
REFUSED = {  # beginnings of paths that a run cannot change, and the way out
    "model": "a run keeps its model, and --load-from starts another one from its weights",
    "optim_wrapper.type": "--load-from starts another run from its weights",
    "optim_wrapper.constructor": "--load-from starts another run from its weights",
    "optim_wrapper.loss_scale": "the loss scale goes on from the checkpoint's",
    "optim_wrapper.optimizer.type": "what one optimizer remembers means nothing to another, and --load-from starts "
    "another run from the weights alone",
    "optim_wrapper.optimizer.amsgrad": "the checkpoint lacks or has what this optimizer remembers",
    "train_dataloader.sampler.seed": "a run keeps its seed",
}
PLANNED = (  # beginnings of paths that decide what learning rates and the like are by now
    "optim_wrapper.optimizer",
    "optim_wrapper.paramwise_cfg",
    "param_scheduler",
    "auto_scale_lr",
    "train_cfg.max_epochs",
    "train_dataloader.batch_size",
)
OTHER_VALIDATION = ("val_dataloader.dataset", "val_cfg")  # after which the best score so far is another's


def flat_config(config: Config) -> Flat:
    """A resolved config as checkpoints keep it: classes and functions by their names, tuples as lists."""
    return _flat({name: _plain(value) for name, value in config.to_dict().items()})


def _flat(values: Options) -> Flat:
    kept = {name: value for name, value in values.items() if name[0] != "_" and name != PLACE}
    return flatten(kept) if kept else {}


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def read_config_text(text: str) -> tuple[Flat, list[str]]:
    """A config from the text that checkpoints hold, of which only literals are read; nothing in it is carried out.

    Returns:
        The flat config, and the top-level names whose values are no literals; ["config"] where nothing can be read.
    """
    values: dict[str, Any] = {}
    unread: list[str] = []
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        statements = []
    for statement in statements:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        name = statement.targets[0].id
        try:
            values[name] = _plain(literal(statement.value))
        except ValueError:
            unread.append(name)
    return _flat(values), unread if statements else ["config"]


def literal(node: ast.expr) -> Any:
    """The value of a Python literal, in which dict(a=1) stands for {"a": 1}, as in configs.

    Raises:
        ValueError: no literal.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("** is no literal")
        return {keyword.arg: literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {literal(key): literal(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, (ast.List, ast.Tuple)):
        return (list if isinstance(node, ast.List) else tuple)(map(literal, node.elts))
    return ast.literal_eval(node)


def changes_of_run(state: State, config: Config, recipe: Options | None) -> tuple[dict[str, str], list[str]]:
    """What a config changes of a run.

    Args:
        state: the run's checkpoint.
        config: what resumes it.
        recipe: of the config's model. Where the checkpoint has one too, these two say whether the model is the same,
            whatever a config leaves to defaults.

    Returns:
        Path to "old → new", and the top-level names that an older checkpoint does not let us compare.

    Raises:
        ValueError: a change that the run cannot follow; the message names its path.
    """
    meta = state["meta"]
    before, unread = (meta["config"], []) if "config" in meta else read_config_text(str(meta.get("cfg", "")))
    now = flat_config(config)
    if unread == ["config"]:
        unread = sorted({path.partition(".")[0] for path in now})
    if recipe and state.get("model"):
        before, now = _with_recipe(before, state["model"]), _with_recipe(now, recipe)
        unread = [name for name in unread if name != "model"]
    found = {
        path: change
        for path, change in changes(before, now).items()
        if not begins(path, (*NO_CHANGE, *unread)) and not _moved(path, before.get(path), now.get(path))
    }
    for path, change in found.items():
        if _of_training_alone(path):
            continue
        for beginning, way_out in REFUSED.items():
            if begins(path, (beginning,)):
                raise ValueError(
                    f"{path} is {change} since the run began, which a resumed run cannot follow: {way_out}"
                )
    return found, unread


def _with_recipe(config: Mapping[str, str], recipe: Options) -> Flat:
    """A flat config whose model is said by its recipe, complete with defaults where the builder is rgbx's."""
    given = recipe.get("parameters", {})
    model = {"builder": recipe.get("builder"), **given}
    with suppress(ValueError):
        model = {**check_recipe(recipe, answering=True), "objectives": given.get("objectives", [])}
    with suppress(ValueError):  # the objectives may be of a file that nobody imported
        model = check_recipe(recipe)
    others = {path: value for path, value in config.items() if not begins(path, ("model",))}
    return {**others, **flatten({"model": _plain(model)})}


def _of_training_alone(path: str) -> bool:
    """Whether a path is of a model's training, such as its loss, and changes no answer of the model."""
    parts = [*path.split("."), "", "", ""]
    of_head = parts[1] == "heads" and parts[3] in TRAINING
    of_gates = parts[1] == "purification" and parts[2] in TRAINING_OF_GATES
    of_filling = parts[1] == "hallucinate" and parts[2] in TRAINING_OF_HALLUCINATION
    return parts[0] == "model" and (parts[1] in TRAINING_ONLY or of_head or of_gates or of_filling)


def begins(path: str, beginnings: Iterable[str]) -> bool:
    """Whether a path is one of these or lies below one."""
    return any(path == beginning or path.startswith(f"{beginning}.") for beginning in beginnings)


def _moved(path: str, before: str | None, now: str | None) -> bool:
    """Whether both values name the same class of a package, which merely lies elsewhere in it by now."""
    if before is None or now is None or path.rpartition(".")[2] not in ("type", "constructor"):
        return False
    return all(before.split(".")[end] == now.split(".")[end] for end in (0, -1))


def advance(schedules: Schedules, *, epochs: int, batches: int, more: int = 0, max_epochs: int) -> None:
    """Steps freshly built schedules as far as a run that had followed them from its start.

    Args:
        schedules: one list, or one by optimizer.
        epochs: that are over.
        batches: of an epoch.
        more: batches of the epoch under way.
        max_epochs: of the whole run.

    Raises:
        ValueError: a schedule that follows the run's scores, or one that ends before the run does.
    """
    for scheduler in every(schedules):
        if isinstance(scheduler, ReduceOnPlateauParamScheduler):
            raise ValueError("a schedule that follows the scores of a run cannot be made anew in its middle")
        steps = min(max_epochs * (1 if scheduler.by_epoch else batches), scheduler.end)
        if steps > getattr(scheduler, "total_steps", steps):
            raise ValueError(
                f"{type(scheduler).__name__} ends after {scheduler.total_steps} steps, the run after {steps}: "
                "total_steps is in epochs and must be max_epochs"
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `scheduler.step", module="mmengine")
        for _ in range(epochs):
            for _ in range(batches):
                _step(schedules, by_epoch=False)
            _step(schedules, by_epoch=True)
        for _ in range(more):
            _step(schedules, by_epoch=False)


def _step(schedules: Schedules, *, by_epoch: bool) -> None:
    for scheduler in every(schedules):
        if scheduler.by_epoch == by_epoch:
            scheduler.step()


def every(schedules: Schedules) -> list[_ParamScheduler]:
    """All schedules, of whichever optimizer."""
    lists = schedules.values() if isinstance(schedules, dict) else [schedules or []]
    return [scheduler for items in lists for scheduler in items]


def hyperparameters(wrapper: OptimWrapper | OptimWrapperDict) -> Hyperparameters:
    """What optimizers do with each group of parameters: learning rate, weight decay and so on."""
    parts = wrapper.items() if isinstance(wrapper, OptimWrapperDict) else [("", wrapper)]
    return {
        name: [{key: value for key, value in group.items() if key != "params"} for group in part.param_groups]
        for name, part in parts
    }


def set_hyperparameters(wrapper: OptimWrapper | OptimWrapperDict, values: Hyperparameters) -> None:
    """The inverse of `hyperparameters`."""
    parts = wrapper.items() if isinstance(wrapper, OptimWrapperDict) else [("", wrapper)]
    for name, part in parts:
        for group, given in zip(part.param_groups, values[name], strict=True):
            group.update(given)
