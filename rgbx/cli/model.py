"""The model of a command: a config's, a checkpoint's, or that of both, which must be one and the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rgbx._runs import config_hint
from rgbx._types import State
from rgbx.cli.config import Config, load_config, without_initial_weights
from rgbx.cli.derived import derive_from_data
from rgbx.cli.errors import ConfigError, building
from rgbx.datasets.class_weights import equal_class_weights
from rgbx.layers import has_subset_statistics
from rgbx.models.checkpoint import dataset_in, model_weights
from rgbx.models.load import fit, load, model_of, without_objectives
from rgbx.models.multimodal import MultimodalModel
from rgbx.models.recipe import Recipe, check_recipe, recipe_differences, upgrade_tensors


def model_from(
    ours: MultimodalModel | None, state: State, checkpoint: Path, which: str | None = None
) -> MultimodalModel:
    """A checkpoint's model, in evaluation mode on the CPU.

    Args:
        ours: what the config describes; None asks the checkpoint alone.
        state: see `rgbx.models.checkpoint.read_checkpoint`.
        checkpoint: the file, for messages.
        which: "checkpoint" or "config", whose model counts where they differ; None refuses that they do.

    Raises:
        ConfigError: config and checkpoint describe models that answer differently; the message names every difference.
        ValueError: see `rgbx.models.load`; or the tensors are of another model than the config's.
    """
    saved = state.get("model")
    if ours is not None:
        check_same_model(ours.recipe, saved, checkpoint, which)
    if ours is None or (saved is not None and which != "config"):
        return model_of(state, checkpoint).eval()
    load_tensors(ours, state, checkpoint)
    return ours.eval()


def read_model(path: str | Path, *, options: Sequence[str] = (), trust: bool = False) -> MultimodalModel:
    """The model of a config (*.py), with random weights, or of a checkpoint or work directory.

    Args:
        path: either.
        options: overrides of a config as "a.b.c=value".
        trust: see `rgbx.models.load`.

    Raises:
        FileNotFoundError: neither is there.
        ConfigError: a config that cannot be used, or overrides without one.
        ValueError: see `rgbx.models.load`.
    """
    if Path(path).suffix == ".py":
        return config_model(load_config(path, options=options))
    if options:
        raise ConfigError(f"--cfg-options are of a config; {path} is none")
    return load(path, trust=trust)


def config_model(config: Config) -> MultimodalModel:
    """The model that a config describes, with random weights, also where it starts from others or counts its labels.

    Raises:
        ConfigError: the config has none, or one of wrong arguments.
        ValueError: see `rgbx.models.multimodal`.
    """
    name = config.filename or "the config"
    if not isinstance(config.get("model"), dict) or not callable(config.model.get("type")):
        raise ConfigError(f"{name}: model is {config.get('model')!r}; expected dict(type=multimodal..., ...)")
    without_initial_weights(config)
    derive_from_data(config, model_only=True)
    equal_class_weights(config.model)
    options = dict(config.model)
    with building(name):
        model = options.pop("type")(**options)
    if not isinstance(model, MultimodalModel):
        raise ConfigError(f"{name} builds a {type(model).__name__}; expected a model of rgbx.models")
    return model


def check_same_model(
    ours: Recipe | None, saved: Recipe | None, checkpoint: str | Path, which: str | None = None
) -> None:
    """Refuses that a config and a checkpoint describe models that answer differently.

    Args:
        ours: the recipe of the config's model; None where it has none.
        saved: the checkpoint's; None where it says nothing, so that only its tensors can tell.
        checkpoint: its file, for messages.
        which: whose model counts; None for none of the two.

    Raises:
        ConfigError: naming every difference.
        ValueError: the checkpoint's recipe cannot be used.
    """
    if ours is None or saved is None or which is not None:
        return
    whose = {"the config's model": ours, f"checkpoint {checkpoint}": saved}
    if found := recipe_differences(*(check_recipe(each, where, answering=True) for where, each in whose.items())):
        raise ConfigError(
            f"checkpoint {checkpoint} is of another model than the config's, which would answer differently; the "
            f"config's against the checkpoint's: {'; '.join(found)}. --model-from checkpoint or --model-from config "
            f"says whose counts.{config_hint(checkpoint)}"
        )


def load_tensors(model: MultimodalModel, state: State, checkpoint: str | Path) -> None:
    """Gives a model the weights of a checkpoint; what its own recipe states, such as statistics and ranges, it keeps.

    So it does those of its objectives, which predict nothing.

    Raises:
        ValueError: they are of another model; the message names the first tensor that differs.
    """
    saved = model_weights(state, checkpoint)
    tensors = saved if state.get("model") is None else upgrade_tensors(state["model"], saved)
    if has_subset_statistics(tensors):
        model.keep_subset_statistics()
    stated = [name for name, _ in model.named_buffers() if name.startswith("data_preprocessor.") or ".task." in name]
    own = model.state_dict()
    stated += [name for name in own if name.startswith("objectives.")]
    fitting = {**without_objectives(tensors), **{name: own[name] for name in stated if name in own}}
    model.load_state_dict({**own, **fit(model, fitting, checkpoint, "the config's model")})
    model.describe(dataset_in(state))
