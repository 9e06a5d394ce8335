"""From a checkpoint to the model that was trained: the only way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

from rgbx._refusing import refusing
from rgbx._runs import config_hint
from rgbx._types import Options, State
from rgbx.backbones import cast, repeats_values, to_channels_last
from rgbx.layers import fit_subset_statistics, has_subset_statistics
from rgbx.models.build import GENERATORS, build_complete
from rgbx.models.checkpoint import EXTRA_STATE, dataset_in, model_weights, read_checkpoint
from rgbx.models.folder import find_checkpoint
from rgbx.models.multimodal import MultimodalModel
from rgbx.models.recipe import check_recipe, upgrade_tensors

MODULES = 4, 500  # a model has so many at most for each of its tensors, and beside; 60 of timm's have 2.2 at most


def load(path: str | Path, *, device: str | torch.device = "cpu", trust: bool = False) -> MultimodalModel:
    """The model of a checkpoint, as it was trained, in evaluation mode, without the objectives of its training.

    Args:
        path: a checkpoint, a work directory (its best checkpoint, or else its last), a folder of `rgbx models save`, or
            the name of one on the Hugging Face hub: ``"hf-hub:OWNER/NAME"``, also with ``@REVISION``.
        device: where the model goes.
        trust: unpickle arbitrary objects; such a file can run any code.

    Raises:
        FileNotFoundError: no such file or repository, or a directory without checkpoints.
        ConnectionError, PermissionError: the hub cannot be reached, or does not show the model.
        ValueError: the file needs trust or is damaged, or its recipe is missing, unknown or does not fit its tensors.
    """
    file = find_checkpoint(path)
    return model_of(read_checkpoint(file, trust=trust), file).to(device).eval()


def model_of(state: State, path: str | Path) -> MultimodalModel:
    """The model that a checkpoint describes, with its weights.

    It is laid out without memory first: a recipe that does not fit the tensors of its file is refused before anything
    is allocated, and initial weights that would be replaced are never drawn.

    Args:
        state: what `read_checkpoint` gives.
        path: the file, for messages.

    Raises:
        ValueError: see `load`.
    """
    recipe = state.get("model")
    if recipe is None:
        raise ValueError(f"checkpoint {path} does not say which model it is of (it has no recipe).{config_hint(path)}")
    parameters = without_files(check_recipe(recipe, f"checkpoint {path}", answering=True))
    tensors = without_objectives(upgrade_tensors(recipe, model_weights(state, path)))
    bounded = _at_most(MODULES[0] * len(tensors) + MODULES[1])
    with refusing(f"checkpoint {path}"), torch.device("meta"), _Undrawn(), bounded:
        model = build_complete(parameters)
        if has_subset_statistics(tensors):
            model.keep_subset_statistics()
    fitting = fit(model, tensors, path)
    if any(buffer.is_meta for name, buffer in model.named_buffers() if name not in fitting):
        model = build_complete(parameters)  # it has values of its own that no checkpoint holds
        if has_subset_statistics(tensors):
            model.keep_subset_statistics()
        model.load_state_dict({**model.state_dict(), **fitting})
    else:
        model.load_state_dict({**model.state_dict(), **fitting}, assign=True)
    if parameters["backbone"]["name"] not in GENERATORS:
        to_channels_last(model)
    with refusing(f"checkpoint {path}"):
        model.describe(dataset_in(state))
    return model


class _Undrawn(TorchFunctionMode):
    """In this block normal numbers are not drawn for tensors without memory, for which torch fetches its compiler."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Options | None = None,
    ) -> object:
        if func is Tensor.normal_ and isinstance(args[0], Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def _at_most(modules: int) -> Iterator[None]:
    """Refuses in this block, and in this thread, to put more modules than that into others."""
    left, thread = [modules], threading.get_ident()

    def count(module: nn.Module, name: str, inner: nn.Module | None) -> None:
        if threading.get_ident() == thread:
            left[0] -= 1
            if left[0] < 0:
                raise ValueError(
                    f"its recipe describes a network of more than {modules} modules, far more than its tensors fill"
                )

    hook = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def without_files(parameters: Options) -> dict[str, Any]:
    """Parameters of a model whose training losses open no file."""
    heads = {
        name: {**head, "perceptual": None} if head.get("perceptual") else dict(head)
        for name, head in parameters["heads"].items()
    }
    return {**parameters, "heads": heads}


def without_objectives(tensors: State) -> dict[str, Tensor]:
    """The tensors, name to [...], of what predicts."""
    return {name: x for name, x in tensors.items() if not name.startswith("objectives.")}


def fit(model: MultimodalModel, tensors: State, path: str | Path, hint: str = "") -> dict[str, Tensor]:
    """The tensors of a checkpoint in the model's types, without what modules save beside tensors.

    Statistics of subsets of the modalities are made to fit, see `rgbx.layers.fit_subset_statistics`.

    Args:
        model: also one without memory.
        tensors: name to [...].
        path: the file, for messages.
        hint: what they should fit, for messages.

    Raises:
        ValueError: naming the first that is not the model's by name or shape, or was expanded from fewer values; or see
            `rgbx.backbones.cast`.
    """
    found, own = (
        {name: x for name, x in given.items() if not name.endswith(EXTRA_STATE)}
        for given in (tensors, model.state_dict())
    )
    found = fit_subset_statistics(found, own)
    differing = [
        name
        for name in {**own, **found}
        if name not in own or name not in found or found[name].shape != own[name].shape
    ]
    if differing:
        name = differing[0]
        shapes = [list(x[name].shape) if name in x else "absent" for x in (found, own)]
        guess = "is it of another backbone, class count or set of modalities?"
        if all(each.startswith("objectives.") for each in differing):
            guess = "it is of other objectives, which --load-from leaves behind."
        raise ValueError(
            f"checkpoint {path} does not fit {hint or 'the model that its recipe describes'}: {len(differing)} tensors "
            f"differ, such as {name}, {shapes[0]} against {shapes[1]}; {guess}{config_hint(path)}"
        )
    if repeated := [name for name, x in found.items() if repeats_values(x)]:
        raise ValueError(
            f"checkpoint {path}: {repeated[0]} has fewer values than its shape says; expected `contiguous()` tensors"
        )
    return cast(found, own, f"checkpoint {path}")
