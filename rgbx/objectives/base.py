"""What an objective is: a loss on what the modalities of a training step have to do with each other.

A head's task says how wrong a prediction is. An objective says what else training should ask for: that branches agree,
that features of two sensors cannot be told apart. It is there in training only; models that are loaded to predict, and
exports, have none. One of one's own is a class under `objective(NAME)` in one file; `docs/objectives.md` writes one.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import Tensor, nn

from rgbx._registry import Registry
from rgbx._text import check_options
from rgbx._types import Options
from rgbx.layers.codes import Codes
from rgbx.tasks import ENSEMBLE, Target, Task

_Made = TypeVar("_Made")
Branches = Mapping[str, Tensor]  # modality: [N, C, H, W]


class Site(NamedTuple):
    """The model that an objective is built for.

    Attributes:
        modalities: names of all, in declared order.
        channels: C of the features of each stage, shallow to deep.
        tasks: of the heads, by name.
        merged: whether the fusion method merges the modalities, so that there are no branches.
        gated: whether the network has gates on its features, see `rgbx.layers.Purification`.
        joined: whether the inputs are joined, so that no modality has features of its own.
        strides: of each stage; none where nobody says it.
        codes: by the number of a stage, from 1, the network's own codes of the modalities.
    """

    modalities: tuple[str, ...]
    channels: tuple[int, ...]
    tasks: Mapping[str, Task]
    merged: bool = False
    gated: bool = False
    joined: bool = False
    strides: tuple[int, ...] = ()
    codes: Mapping[int, Codes] = MappingProxyType({})


@dataclass(frozen=True)
class Step:
    """What a training step computed; the images of a batch are in one order throughout.

    Attributes:
        inputs: normalised [N, c, H, W] of the modalities present, in declared order.
        features: of each stage, shallow to deep, {modality: [N, C_i, h_i, w_i]}; where the fusion method merges the
            modalities {"ensemble": ...}. What the heads read, so after fusion.
        outputs: of each head {branch or "ensemble": [N, C, H, W]}: logits, or maps in -1..1.
        targets: of each head.
        tasks: of each head.
        ungated: runs the network once more on the same inputs with its gates open, for the outputs of that pass.
        sources: see `own_features`; none where they are the features.
        sample_ids: the name of each image; none where the batch has none.
        reduced: runs the network once more, on a proper subset of the inputs that is drawn anew for each step, for the
            outputs of that pass; none of them where the step has no such subset. None unless an objective `reduces`.
    """

    inputs: Mapping[str, Tensor]
    features: Sequence[Mapping[str, Tensor]]
    outputs: Mapping[str, Branches]
    targets: Mapping[str, Target]
    tasks: Mapping[str, Task]
    ungated: Callable[[], Mapping[str, Branches]] | None = None
    sources: Sequence[Mapping[str, Tensor]] = ()
    sample_ids: Sequence[str] = ()
    reduced: Callable[[], Mapping[str, Branches]] | None = None
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the modalities of this step: modality dropout may have left some out."""
        return tuple(self.inputs)

    @property
    def own_features(self) -> Sequence[Mapping[str, Tensor]]:
        """The features of each stage, {modality: [N, C_i, h_i, w_i]}, as codes of the network read them.

        Where a fusion method merges the modalities, those that it merges; where it joins the inputs, none.
        """
        return self.sources or self.features

    def branches(self, head: str) -> dict[str, Tensor]:
        """What the branches of a head put out, {modality: [N, C, H, W]}; none where they are merged."""
        return {name: x for name, x in self.outputs[head].items() if name != ENSEMBLE}

    def sample_losses(self, head: str) -> dict[str, Tensor]:
        """The losses of a head's task by branch and by image, {modality: [N]}; computed once a step."""
        return self._once(f"losses of {head}", lambda: self._sample_losses(head, self.branches(head)))

    def open_branches(self, head: str) -> dict[str, Tensor]:
        """As `branches`, of a pass with the network's gates open, which is made once a step.

        Raises:
            ValueError: a network without gates.
        """
        if self.ungated is None:
            raise ValueError("the network has no gates: set purification in the model")
        outputs = self._once("open", self.ungated)[head]
        return {name: x for name, x in outputs.items() if name != ENSEMBLE}

    def open_losses(self, head: str) -> dict[str, Tensor]:
        """As `sample_losses`, of the branches that `open_branches` gives."""
        return self._once(f"open losses of {head}", lambda: self._sample_losses(head, self.open_branches(head)))

    def _sample_losses(self, head: str, branches: Branches) -> dict[str, Tensor]:
        return self.tasks[head].sample_losses(branches, self.targets[head])

    def _once(self, key: str, make: Callable[[], _Made]) -> _Made:
        if key not in self._kept:
            self._kept[key] = make()
        made: _Made = self._kept[key]
        return made

    def detached(self) -> Step:
        """The same without gradients: what opponents judge."""
        return replace(
            self,
            features=[{name: x.detach() for name, x in stage.items()} for stage in self.features],
            outputs={head: {name: x.detach() for name, x in found.items()} for head, found in self.outputs.items()},
            ungated=None,
            reduced=None,
            sources=[{name: x.detach() for name, x in stage.items()} for stage in self.sources],
            _kept={},
        )


class Objective(nn.Module, ABC):
    """One more loss of a model.

    A class gives `forward`. One that is trained against an opponent keeps that under the attribute `opponent` and gives
    `opponent_losses`: the opponent has an optimizer of its own, which steps after the rest of the model, and is left as
    it is where `forward` sends gradients through it. An opponent that is trained by the same optimizer sees its
    features through `rgbx.layers.reverse_gradient` instead.

    Its keyword arguments are the options that configs and recipes hold, in plain values.

    Attributes:
        name: the name in `OBJECTIVES`, that configs, recipes and logs use.
        weight: factor of all its losses, `build_objective` sets it.
        opponent: a network that is trained against the rest of the model, or None.
        reduces: whether it asks for `Step.reduced`.
        of_own_batch: whether the images of a batch, beside the modalities in it, decide which of its layers are called.
            Of several processes each normalises by its own batch there, see `rgbx.layers.synchronise_norms`.
    """

    name: ClassVar[str]
    weight: float = 1.0
    of_own_batch: ClassVar[bool] = False
    reduces: ClassVar[bool] = False
    opponent: nn.Module | None

    def __init__(self, site: Site | None = None) -> None:
        super().__init__()
        self.opponent = None  # not of the class, whose attribute would hide a module of the same name

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Tensor]:
        """Scalars by name, which training adds to its loss and logs as ``loss_OBJECTIVE_NAME``.

        A step may hold fewer modalities than the model knows: without a use for those there are, {}.
        """

    def opponent_losses(self, step: Step) -> dict[str, Tensor]:
        """Scalars by name that train the opponent alone, or {}; nothing in `step` carries gradients."""
        raise NotImplementedError(f"objective {self.name!r} has an opponent without losses")


OBJECTIVES: Registry[Objective] = Registry("objective", "name")
objective = OBJECTIVES.enter


def complete_objectives(given: object) -> list[dict[str, Any]]:
    """The objectives of a config with every default.

    Args:
        given: a list of names, or of ``dict(name=..., weight=1.0, **options)``.

    Raises:
        ValueError: something else, an unknown name or option, a name given twice, or a weight below 0 or infinite.
    """
    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        raise ValueError(
            f"objectives are {given!r}; expected a list such as [dict(name='knowledge_guidance', weight=1.0)]"
        )
    found: dict[str, dict[str, Any]] = {}
    for item in given:
        options = {"name": item} if isinstance(item, str) else dict(item) if isinstance(item, Mapping) else {}
        kind = OBJECTIVES.find(options.get("name"), f"an objective is {item!r}", ", or a dict of a name and options")
        known = {key: p.default for key, p in inspect.signature(kind).parameters.items() if key != "site"}
        check_options([key for key in options if key != "name"], ["weight", *known], f"objective {kind.name!r}")
        if kind.name in found:
            raise ValueError(f"objective {kind.name!r} is given twice; expected each once, with its weight")
        options = {"name": kind.name, "weight": 1.0, **known, **options}
        if missing := [key for key, value in options.items() if value is inspect.Parameter.empty]:
            raise ValueError(f"objective {kind.name!r} lacks its option {missing[0]!r}")
        weight = options["weight"]
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= sys.float_info.max:
            raise ValueError(f"weight of objective {kind.name!r} is {weight!r}; expected a number of at least 0")
        found[kind.name] = options
    return list(found.values())


def objective_text(options: Options) -> str:
    """What `complete_objectives` gives of one, in words: name, weight, and options that are not as usual."""
    usual = {key: p.default for key, p in inspect.signature(OBJECTIVES[options["name"]]).parameters.items()}
    own = {key: value for key, value in options.items() if key not in ("name", "weight")}
    told = [f"{key} {value!r}" for key, value in own.items() if _listed(value) != _listed(usual.get(key))]
    return ", ".join([f"{options['name']} × {options['weight']:g}", *told])


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def build_objective(options: Options, site: Site) -> Objective:
    """Builds an objective from what `complete_objectives` gives, for a model.

    Raises:
        ValueError: what the objective refuses.
    """
    given = dict(options)
    kind, weight = OBJECTIVES[given.pop("name")], given.pop("weight")
    built = kind(site, **given)
    built.weight = float(weight)
    return built
