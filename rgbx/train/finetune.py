"""Weights for a model that differs from the checkpoint's in its classes or its modalities."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from rgbx._text import text_table
from rgbx.backbones import ModalityStem, stem_weight
from rgbx.layers import has_subset_statistics, owner
from rgbx.models.checkpoint import EXTRA_STATE

ALPHA = ".alpha."
COPIES = "copies"  # what separate encoders keep their layers under
CONFIGURED = ("data_preprocessor.", ".task.loss.", ".task.range.")  # buffers that state what the config says


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

    Tensors that agree in name and shape are kept. The private layers of a modality that the
    checkpoint lacks are filled from its first modality, and every one of separate encoders from the
    shared one where the checkpoint has that. Stems that it lacks, or has in another form, are made from
    its shared first convolution, by the model's own rule. `alpha` starts anew wherever the set of
    modalities differs, and so does everything else that does not fit, such as the classifier of
    another class count. Statistics of subsets of the modalities begin anew, and are told nowhere.
    Normalisation statistics and class weights belong to the data, so they are
    always the config's.

    Args:
        model: to be trained.
        weights: of the checkpoint, name to [...].

    Returns:
        The state dict to load (every key of the model), and what was done.

    Raises:
        ValueError: nothing fits, or the checkpoint has separate encoders where the model has a shared one.
    """
    target = model.state_dict()
    tensors, weights = (
        {name: x for name, x in given.items() if not name.endswith(EXTRA_STATE) and not has_subset_statistics([name])}
        for given in (target, weights)
    )
    first = next(filter(None, map(owner, weights)), "")
    stems = _stem_sources(model, tensors, weights)
    same_modalities = _alphas(tensors) == _alphas(weights)
    if any(_shared_name(name) in tensors for name in weights if _shared_name(name) != name):
        raise ValueError(
            "the checkpoint holds an encoder per modality, and none of them is the shared one that this model has; "
            "set weights='separate', or start from a checkpoint with shared weights"
        )
    summary, state = TransferSummary(), dict(target)
    for name, tensor in tensors.items():
        if any(part in name for part in CONFIGURED):
            summary.configured.append(name)
            continue
        source = name if name in weights else _source(name, weights, first)
        found = weights.get(source)
        if name in stems:
            source, mode = stems[name]
            found = stem_weight(weights[source], mode, tensor.shape[1]) if name.endswith("weight") else weights[source]
        if found is None or found.shape != tensor.shape or (ALPHA in name and not same_modalities):
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


def _source(name: str, weights: Container[str], first: str) -> str:
    """What to fill a private tensor from: the layer that all modalities share, or that of the first modality."""
    modality, shared = owner(name), _shared_name(name)
    return shared if modality is None or shared in weights else name.replace(f".{modality}.", f".{first}.", 1)


def _shared_name(name: str) -> str:
    """What a layer of separate encoders is called where all modalities share it."""
    return name.replace(f".{COPIES}.{owner(name)}.", ".", 1)


def _stem_sources(
    model: nn.Module,
    tensors: Mapping[str, Tensor],  # [...] each
    weights: Mapping[str, Tensor],  # [...] each
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


def _alphas(names: Iterable[str]) -> set[str]:
    return {name for name in names if ALPHA in name}
