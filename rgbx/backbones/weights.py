"""Pretrained weights of the one network, before its norms are multiplied over the modalities."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rgbx.backbones._timm import timm
from rgbx.backbones.residual import is_identity, residual_blocks, start_as_identity
from rgbx.backbones.weight_file import cast, read_state_dict
from rgbx.backbones.weight_scale import IMAGENET, Scale, refit, scale_of
from rgbx.backbones.weight_source import find_weights
from rgbx.backbones.weight_styles import COUNTER, preferred, styled, whose
from rgbx.backbones.weight_summary import WeightSummary

logger = logging.getLogger(__name__)

WRAPPINGS = re.compile(r"((module|_orig_mod|model|backbone|encoder|net|network|teacher|student)\.)*")
FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")  # as timm's modules call theirs


def load_pretrained(network: nn.Module, name: str, source: str, *, rgb: Scale = IMAGENET) -> WeightSummary:
    """Fills a timm feature network from a weight file or from timm's weights, see `find_weights`.

    A file holds the state dict itself or one of `rgbx.backbones.weight_file.WRAPPERS`; a prefix that its names have
    throughout (``module.``, ``backbone.``, ...) is removed. Names and layouts of other projects that timm or
    `rgbx.backbones.weight_styles` can convert for this network are converted. A residual block of which the file holds
    nothing starts as the identity, where its form allows that. Where it is known that the weights were trained on RGB
    of another normalisation than the model's, the first convolution is refitted to the model's, see
    `rgbx.backbones.weight_scale`.

    Args:
        network: timm's, with ``features_only``.
        name: a timm model, with or without a tag.
        source: see `find_weights`.
        rgb: how the model normalises RGB.

    Raises:
        FileNotFoundError, ConnectionError: if the weights cannot be found.
        ValueError: if the file is no weight file or fits less than half of the network.
    """
    path = find_weights(name, source)
    whole = _whole(name)
    inside = _find_prefix(whole, network.state_dict())  # the rest is not of timm
    within = network.get_submodule(inside.removesuffix("."))
    summary = _fill(within, name, read_state_dict(path), str(path), whole)
    summary = summary.inside(inside)
    told = refit(network, scale_of(name, source), rgb, summary.loaded)
    empty, partial = _blocks_left(network, summary)
    identity = tuple(block for block, module in empty.items() if start_as_identity(module))
    random = tuple(block for block in empty if block not in identity)
    return replace(summary, identity=identity, random=random, partial=partial, refitted=told)


def report(summary: WeightSummary, network: nn.Module, modalities: int) -> WeightSummary:
    """Logs what was loaded, once the network is fused: a fusion may act inside a block that starts as the identity."""
    modules = dict(network.named_modules())
    exchanging = [name for name in summary.identity if name in modules and not is_identity(modules[name], modalities)]
    summary = replace(summary, exchanging=tuple(exchanging))
    logger.log(logging.WARNING if summary.suspicious else logging.INFO, "%s", summary)
    return summary


def _fill(
    network: nn.Module,
    name: str,
    state: dict[str, Tensor],  # [...] each
    source: str,
    whole: Mapping[str, Tensor],  # [...] each
) -> WeightSummary:
    if any(".norms." in key for key in state):
        raise ValueError(f"{source} holds private norms, so it is a checkpoint of rgbx: pass it by --load-from")
    own, found, prefix, style = _best_reading(network, name, state, whole)
    by_name = _flattened(own)
    own_shapes, missing, mismatched = network.state_dict(), [], []
    for key in _names(network):
        theirs = by_name.get(_flat(key))
        if theirs is None:
            missing.append(key)
        elif key not in found:
            mismatched.append((key, tuple(own[theirs].shape), tuple(own_shapes[key].shape)))
    places = {_flat(key) for key in own_shapes}
    unused = [key for key in own if _flat(key) not in places and not key.endswith(COUNTER)]
    unused += [key for key in state if not key.startswith(prefix) and not key.endswith(COUNTER)]
    loaded = tuple(key for key in found if not key.endswith(COUNTER))
    summary = WeightSummary(source, loaded, tuple(missing), tuple(unused), tuple(mismatched), prefix, style)
    if len(summary.loaded) < len(summary.left):
        author = f" ({told})" if (told := whose(state)) else ""
        raise ValueError(
            f"{summary.headline()}, which does not look like weights of {name}: the file has {list(own)[:3]}{author}, "
            f"the network {_names(network)[:3]}. Take a file in timm's names (torchvision's ResNets share them), or "
            "pretrained='timm'"
        )
    with torch.no_grad():
        for key, x in cast({key: own[theirs] for key, theirs in found.items()}, own_shapes, source).items():
            own_shapes[key].copy_(x)
    return summary


class _Reading(NamedTuple):
    """Weights under names of the network, or nearly: the tensors, and the network's names with theirs."""

    own: dict[str, Tensor]  # [...] each
    found: dict[str, str]
    prefix: str
    style: str = ""


def _best_reading(
    network: nn.Module,
    name: str,
    state: dict[str, Tensor],  # [...] each
    whole: Mapping[str, Tensor],  # [...] each
) -> _Reading:
    """The first of the ways to read the names that fills the whole network, or else the one that fills most."""
    best = None
    for reading in _readings(network, name, state, whole):
        if best is None or len(reading.found) > len(best.found):
            best = reading
        if all(key in best.found for key in _names(network)):
            break
    assert best is not None
    return best


def _readings(
    network: nn.Module,
    name: str,
    state: dict[str, Tensor],  # [...] each
    whole: Mapping[str, Tensor],  # [...] each
) -> Iterator[_Reading]:
    prefix = _find_prefix(network.state_dict(), state)
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    yield _Reading(own, _match(network, own), prefix)
    converted = _convert(own, name)
    yield _Reading(converted, _match(network, converted), prefix)
    if before := _wrapping(state):
        own = {key.removeprefix(before): value for key, value in state.items() if key.startswith(before)}
        converted = _convert(own, name)
        yield _Reading(converted, _match(network, converted), before)
    for style, before, tensors in styled(state, whole):
        yield _Reading(tensors, _match(network, tensors), before, style)
        converted = _convert(tensors, name)
        yield _Reading(converted, _match(network, converted), before, style)


def _whole(name: str) -> dict[str, Tensor]:  # [...] each
    """What timm's whole network of this name holds, classifier included."""
    try:
        with torch.device("meta"):
            return timm.create_model(name.partition(".")[0]).state_dict()
    except (NotImplementedError, RuntimeError):  # some compute with values as they are made
        return timm.create_model(name.partition(".")[0]).state_dict()


def _names(network: nn.Module) -> list[str]:
    return [key for key in network.state_dict() if not key.endswith(COUNTER)]


def _flat(name: str) -> str:
    """timm flattens the names of some feature networks: ``stages_0`` for ``stages.0``."""
    return name.replace(".", "_")


def _flattened(
    state: Mapping[str, Tensor],  # [...] each
) -> dict[str, str]:
    return {_flat(key): key for key in state}


def _match(
    network: nn.Module,
    state: Mapping[str, Tensor],  # [...] each
) -> dict[str, str]:
    """The network's name -> the file's, for entries of equal shape."""
    by_name = _flattened(state)
    pairs = ((key, tensor, by_name.get(_flat(key))) for key, tensor in network.state_dict().items())
    return {key: theirs for key, tensor, theirs in pairs if theirs is not None and state[theirs].shape == tensor.shape}


def _find_prefix(known: Iterable[str], state: Iterable[str]) -> str:
    """What stands before most of the names that, without it, are known."""
    names = {_flat(key) for key in known}
    counts: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        counts.update(".".join([*parts[:i], ""]) for i in range(len(parts)) if _flat(".".join(parts[i:])) in names)
    return max(preferred(counts), key=lambda prefix: (counts[prefix], -len(prefix)), default="")


def _wrapping(state: Iterable[str]) -> str:
    """What training scripts put before most of the names, whatever these are."""
    counts = Counter(WRAPPINGS.match(key)[0] for key in state)  # type: ignore[index]
    return max(preferred(counts), key=counts.__getitem__, default="")


def _convert(
    state: dict[str, Tensor],  # [...] each
    name: str,
) -> dict[str, Tensor]:
    """The weights as timm converts those of other projects for this network, or as they are where it does not.

    Some of its converters print what they leave out, which the summary says too.
    """
    module = sys.modules[timm.model_entrypoint(name.partition(".")[0]).__module__]
    convert: Callable[..., Mapping[str, object]] | None = next(
        (getattr(module, f) for f in FILTERS if hasattr(module, f)), None
    )
    if convert is None:
        return state
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                converted = convert(dict(state), timm.create_model(name))
            except TypeError:  # some take the weights alone
                converted = convert(dict(state))
    except Exception:  # not the layout that it expects
        return state
    return {key: value for key, value in converted.items() if isinstance(value, Tensor)}


def _blocks_left(network: nn.Module, summary: WeightSummary) -> tuple[dict[str, nn.Module], tuple[str, ...]]:
    """Residual blocks of which nothing was loaded, and the names of those of which a part was."""
    empty, partial = {}, []
    for name, block in residual_blocks(network).items():
        inside = f"{name}."
        if not any(key.startswith(inside) for key in summary.left):
            continue
        if any(key.startswith(inside) for key in summary.loaded):
            partial.append(name)
        else:
            empty[name] = block
    return empty, tuple(partial)
