"""Weights for a model that differs from the checkpoint's in its classes or its modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from rgbx.backbones import ModalityStem, stem_weight
from rgbx.engine.checkpoint import EXTRA_STATE
from rgbx.engine.segmentation_metric import text_table

NORMS = ".norms."
ALPHA = "alpha."
CONFIGURED = ("data_preprocessor.", "loss.")  # buffers that state what the config says


@dataclass
class TransferSummary:
    """What became of each tensor, by name.

    Attributes:
        kept: copied, name and shape agree.
        filled: target name -> the checkpoint's name it was filled from.
        reinitialised: left as the model built them (shape differs, absent, or `alpha`).
        configured: as the config says, whatever the checkpoint holds: normalisation and class weights.
        unused: in the checkpoint only.
    """

    kept: list[str] = field(default_factory=list)
    filled: dict[str, str] = field(default_factory=dict)
    reinitialised: list[str] = field(default_factory=list)
    configured: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Counts with an example each, for the log."""
        filled = [f"{target} <- {source}" for target, source in self.filled.items()]
        groups = {
            "kept": self.kept,
            "filled": filled,
            "reinitialised": self.reinitialised,
            "from the config": self.configured,
            "unused": self.unused,
        }
        return text_table(
            ["tensors", "count"],
            [[f"{name}{f'  (e.g. {items[0]})' if items else ''}", str(len(items))] for name, items in groups.items()],
        )


def transfer(model: nn.Module, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], TransferSummary]:
    """Chooses the tensors of a checkpoint that fit `model`; the model is not changed.

    Tensors that agree in name and shape are kept. The private norms of a modality that the
    checkpoint lacks are filled from its first modality, and stems that it lacks, or has in another
    form, from its shared first convolution, by the model's own rule. `alpha` starts anew wherever the
    set of modalities differs, and so does everything else that does not fit, such as the classifier of
    another class count. Normalisation statistics and class weights belong to the data, so they are
    always the config's.

    Returns:
        The state dict to load (every key of the model), and what was done.

    Raises:
        ValueError: nothing fits.
    """
    target = model.state_dict()
    tensors = {name: x for name, x in target.items() if not name.endswith(EXTRA_STATE)}
    weights = {name: x for name, x in weights.items() if not name.endswith(EXTRA_STATE)}
    first = next((_modality(name) for name in weights if NORMS in name), "")
    stems = _stem_sources(model, tensors, weights)
    same_modalities = _alphas(tensors) == _alphas(weights)
    summary, state = TransferSummary(), dict(target)
    for name, tensor in tensors.items():
        if name.startswith(CONFIGURED):
            summary.configured.append(name)
            continue
        source = name
        if NORMS in name and name not in weights:
            head, tail = name.split(NORMS)
            source = f"{head}{NORMS}{first}.{tail.split('.', 1)[1]}"
        found = weights.get(source)
        if name in stems:
            source, mode = stems[name]
            found = stem_weight(weights[source], mode) if name.endswith("weight") else weights[source]
        if found is None or found.shape != tensor.shape or (name.startswith(ALPHA) and not same_modalities):
            summary.reinitialised.append(name)
            continue
        state[name] = found
        if source == name:
            summary.kept.append(name)
        else:
            summary.filled[name] = source
    used = {*summary.kept, *summary.filled.values()}
    summary.unused = [name for name in weights if name not in used and name not in summary.configured]
    if not used:
        raise ValueError(
            f"no tensor of the checkpoint fits this model: it holds {list(weights)[:3]}, the model {list(target)[:3]}"
        )
    return state, summary


def _stem_sources(
    model: nn.Module, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, tuple[str, str]]:
    """Tensors of stems that the checkpoint has not -> its shared convolution's tensor, and how to make them of it."""
    sources = {
        f"{path}.stems.{modality}.{key}": (f"{path}.{key}", mode)
        for path, module in model.named_modules()
        if isinstance(module, ModalityStem)
        for modality, mode in module.modes.items()
        for key in ("weight", "bias")
    }
    return {
        name: source
        for name, source in sources.items()
        if source[0] in weights and (name not in weights or weights[name].shape != tensors[name].shape)
    }


def _modality(name: str) -> str:
    return name.split(NORMS)[1].split(".")[0]


def _alphas(names: Mapping[str, Tensor]) -> set[str]:
    return {name for name in names if name.startswith(ALPHA)}
