"""The one model of rgbx: maps in their units are normalised, a network gives features, and heads read them.

Each modality keeps its own prediction o_m in every head, and the head's ensemble is Σ_m softmax(α)_m · o_m. With a
subset of the modalities present, softmax(α) runs over that subset. A fusion method that merges the modalities leaves
one prediction, which is the ensemble, and no α.

Source: arXiv 2108.05009, section 3.4; several heads on one backbone are ours.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.fusion import fusion_penalty
from rgbx.layers import StackLayout
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.predict import Predictor
from rgbx.tasks import ENSEMBLE, Map, Target, Task
from rgbx.tasks.adversarial import Opponent
from rgbx.tasks.map_range import build_range, range_options

ENSEMBLES = ("learned", "mean")
PADDINGS = ("zeros", "reflect", "none")
MODES = ("tensor", "loss", "predict", "generator", "discriminator")

Inputs = Mapping[str, Tensor]  # modality: [N, c, H, W]
Outputs = dict[str, dict[str, Tensor]]  # head: branch or "ensemble": [N, C, H, W]

DEFAULT_STATISTICS: dict[str, dict[str, Sequence[float]]] = {
    # ImageNet, on the 0..255 scale
    "rgb": {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
    # metres, over the training frames of NYU Depth V2
    "depth": {"mean": (2.845,), "std": (1.418,)},
    # 0..255, over eight of the HHA images passed around with NYU Depth V2
    "hha": {"mean": (132.35, 101.63, 127.98), "std": (60.75, 45.35, 38.42)},
    # unit vectors
    "normal": {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
}
KINDS = ("statistics", "range")


class Statistics(nn.Module):
    """(x - mean) / std, and 0 where a map was not measured.

    Values beyond ``max`` count as that: depth from disparity reaches kilometres where the disparity is a pixel's
    fraction.

    Args:
        mean, std: one value per channel, in the map's unit.
        max: one value, or one per channel.
    """

    mean: Tensor
    std: Tensor
    max: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], max: Sequence[float] | float = torch.inf) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std), ("max", max)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1))

    def forward(
        self,
        x: Tensor,  # [N, c, H, W], in the map's unit
        valid: Tensor | None,  # bool [N, 1, H, W]
    ) -> Tensor:
        """Normalised float32 [N, C, H, W]."""
        scaled = (x.float().minimum(self.max) - self.mean) / self.std
        return scaled if valid is None else scaled.where(valid, 0.0)

    def mirror(
        self,
        x: Tensor,  # [N, 3, H, W], normalised unit vectors of a mirrored image
    ) -> Tensor:
        """The vectors of the scene in the mirror: their x is turned, but where there are none (0, 0, 0)."""
        turned = torch.where((x == 0).all(1), x[:, 0], -x[:, 0] - 2 * (self.mean / self.std)[0, 0, 0])
        return torch.cat([turned[:, None], x[:, 1:]], 1)


class Range(nn.Module):
    """low..high of a map to -1..1, see `MapRange`, and -1 where it was not measured."""

    def __init__(self, name: str, given: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.range = build_range(name, given)

    def forward(
        self,
        x: Tensor,  # [N, c, H, W], in the map's unit
        valid: Tensor | None,  # bool [N, 1, H, W]
    ) -> Tensor:
        """Normalised float32 [N, c, H, W]."""
        scaled = self.range.normalise(x)
        return scaled if valid is None else scaled.where(valid, -1)

    def mirror(
        self,
        x: Tensor,  # [N, 3, H, W], unit vectors of a mirrored image
    ) -> Tensor:
        """The vectors of the scene in the mirror: their x is turned, but where there are none (-1, -1, -1)."""
        turned = torch.where((x == -1).all(1), x[:, 0], self.range.negate(x[:, 0]))
        return torch.cat([turned[:, None], x[:, 1:]], 1)


class Preprocessor(nn.Module):
    """Moves a batch to the model's device, normalises every modality and reads every head's target.

    A map ``NAME`` is not measured where its mask ``NAME_valid`` in the batch is false; depth without a mask is taken as
    measured where it is positive.

    Args:
        modalities: names of the modalities the model knows; any non-empty subset may be in a batch.
        tasks: of the heads, by name.
        kind: ``"statistics"``, as networks pretrained on ImageNet expect, or ``"range"``: -1..1.
        statistics: per modality ``{"mean": [...], "std": [...]}`` in the modality's own unit, one value per channel,
            and optionally ``"max"``; taken from `DEFAULT_STATISTICS` where not given.
        ranges: per modality ``{"low": ..., "high": ..., "scale": "linear" | "log"}`` in its own unit, see `MapRange`;
            rgb, hha, normal, depth (0 to 10 m) and edge have defaults.

    Raises:
        ValueError: an unknown kind, a modality without statistics or range, or values for one that the model has not.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        tasks: Mapping[str, Task],
        kind: str = "statistics",
        *,
        statistics: Mapping[str, Mapping[str, Any]] | None = None,
        ranges: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.modalities, self._tasks = tuple(modalities), dict(tasks)
        build = Range if kind == "range" else _statistics
        options = input_options(self.modalities, kind, statistics, ranges)
        self.inputs = nn.ModuleDict({name: build(name, given) for name, given in options.items()})

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """What a model takes.

        Args:
            data: a collated batch: ``NAME`` [N, c, H, W] and ``NAME_valid`` bool [N, 1, H, W] of modalities and
                targets, ``sample_id``.
            training: has no effect; it is the sign of a training step to those who wrap this.

        Returns:
            ``inputs`` {modality: float32 [N, c, H, W]}, ``targets`` {head: `Target`} of those in the batch, and
            ``sample_id``.

        Raises:
            ValueError: the batch holds none of the model's modalities.
        """
        device = next(self.buffers()).device
        batch = {
            key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in data.items()
        }
        inputs = {
            name: self.inputs[name](batch[name], measured(name, batch)) for name in self.modalities if name in batch
        }
        if not inputs:
            raise ValueError(f"the batch has {sorted(batch)}; expected at least one of {list(self.modalities)}")
        found = {name: task.read_target(batch) for name, task in self._tasks.items()}
        targets: dict[str, Target] = {name: target for name, target in found.items() if target is not None}
        return {"inputs": inputs, "targets": targets, "sample_id": batch.get("sample_id")}

    def clipped(
        self,
        name: str,
        image: np.ndarray,  # [C, H, W], in the map's unit
    ) -> np.ndarray:
        """A map as the network tells its values apart: those beyond its range are the range's ends."""
        scaling = self.inputs[name]
        if not isinstance(scaling, Range):
            return image
        low, high = scaling.range.bounds.tolist()
        return image.clip(low, high).astype(image.dtype)

    def mirror(
        self,
        inputs: Mapping[str, Tensor],  # [N, c, H, W], normalised
    ) -> dict[str, Tensor]:
        """Normalised inputs of the scene in a mirror: normals (the map ``normal``) turn their x too."""
        mirrored = {name: x.flip(-1) for name, x in inputs.items()}
        if "normal" in mirrored:
            scaling: Any = self.inputs["normal"]
            mirrored["normal"] = scaling.mirror(mirrored["normal"])
        return mirrored


def measured(name: str, batch: Mapping[str, Tensor]) -> Tensor | None:
    """Where a map of a batch was measured, bool [N, 1, H, W]; None where all of it counts."""
    return batch.get(f"{name}_valid", batch[name] > 0 if name == "depth" else None)


def input_options(
    modalities: Sequence[str],
    kind: str,
    statistics: Mapping[str, Mapping[str, Any]] | None,
    ranges: Mapping[str, Mapping[str, Any]] | None,
) -> dict[str, dict[str, Any]]:
    """What normalises each modality: what is given over the defaults.

    Raises:
        ValueError: an unknown kind, or values for a modality that the model has not.
    """
    if kind not in KINDS:
        raise ValueError(f"normalization is {kind!r}; expected one of {KINDS}")
    given = (ranges if kind == "range" else statistics) or {}
    if unknown := sorted(set(given) - set(modalities)):
        raise ValueError(
            f"{'ranges' if kind == 'range' else kind} are given for {unknown}; this model has {list(modalities)}"
        )
    if kind == "range":
        return {name: range_options(name, given.get(name)) for name in modalities}
    return {name: {**DEFAULT_STATISTICS.get(name, {}), **given.get(name, {})} for name in modalities}


def _statistics(name: str, given: Mapping[str, Any] | None) -> Statistics:
    known = dict(given or {})
    if not {"mean", "std"} <= set(known):
        raise ValueError(
            f"no normalization statistics for modality {name!r}; pass "
            f"statistics={{{name!r}: {{'mean': [...], 'std': [...]}}}} in its own unit"
        )
    if unknown := sorted(set(known) - {"mean", "std", "max"}):
        raise ValueError(f"statistics of {name!r} have the unknown entries {unknown}; known are mean, std and max")
    return Statistics(**known)


class Backbone(Protocol):
    """What a model asks of a network, a module; `SharedBackbone` and `ImageGenerator` give it."""

    layout: StackLayout
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    multiple: int
    smallest: int
    single_branch: bool
    norm_eval: bool

    def __call__(self, inputs: Inputs) -> list[Tensor]: ...

    def modules(self) -> Iterator[nn.Module]: ...


class Shown(NamedTuple):
    """What a generator's pass leaves for its discriminators: the inputs it saw and each head's images, detached."""

    inputs: dict[str, Tensor]
    images: Outputs


class Head(nn.Module):
    """A decoder, the task that gives its output a meaning, and how branches vote.

    Args:
        decoder: maps the backbone's feature stacks [M*N, C_i, h_i, w_i] to [M*N, C, h, w].
        task: what the output means.
        voters: modalities with a learned weight in the ensemble, which a single one needs not; none for the mean of
            all, or where they are merged to one branch.
        weight: factor of the head's losses.
        detach_ensemble: whether the ensemble's loss stops at the predictions and trains only α.
        opponent: a discriminator that the head is trained against, or None.
    """

    def __init__(
        self,
        decoder: nn.Module,
        task: Task,
        *,
        voters: Sequence[str] = (),
        weight: float = 1.0,
        detach_ensemble: bool = True,
        opponent: Opponent | None = None,
    ) -> None:
        super().__init__()
        self.decoder, self.task = decoder, task
        self.alone = len(voters) == 1
        self.alpha = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in voters if not self.alone})
        self.weight, self.detach_ensemble, self.opponent = weight, detach_ensemble, opponent

    def forward(
        self,
        features: Sequence[Tensor],  # [M*N, C_i, h_i, w_i]
        names: Sequence[str],
    ) -> tuple[list[str], Tensor]:
        """Outputs at the decoder's resolution.

        Args:
            features: of the backbone, shallow to deep.
            names: of the M modalities in the stack; none where they are merged to one branch.

        Returns:
            The S names of branches and ensemble, and their outputs stacked by name, [S*N, C, h, w].
        """
        stack = self.task.activate(self.decoder(features))
        if not names:
            return [ENSEMBLE], stack
        size = stack.shape[0] // len(names)
        votes = stack.split([size] * len(names))  # unlike chunks, these let an export keep N dynamic
        votes = [vote.detach() for vote in votes] if self.detach_ensemble else list(votes)
        weights = torch.stack([self.alpha[name] for name in names]).softmax(0) if self.alpha else None
        joint = votes[0] if self.alone else self.task.ensemble(votes, weights)
        return [*names, ENSEMBLE], torch.cat([stack, joint])


class MultimodalModel(nn.Module):
    """Shared backbone and any number of heads, from any subset of the modalities.

    Images whose sides the backbone's stride does not divide are padded at the right and bottom and outputs cropped.

    Args:
        backbone: features of the modalities present.
        heads: by name.
        preprocessor: normalises a collated batch and reads its targets.
        padding: with ``"zeros"``; by ``"reflect"``-ion, or the border where the image is too small for it; or
            ``"none"``, for backbones of padded convolutions such as ResNets, which see images as they are.
        modality_dropout: draws the subset of modalities of a training step; None trains on all that are given.

    Attributes:
        layout, modalities: the backbone's.
        data_preprocessor: see `Preprocessor`.
        recipe: how it was built, for its checkpoints.

    Raises:
        ValueError: a name that would be taken twice, an unknown padding, or dropout beside a merging of modalities.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: Mapping[str, Head],
        preprocessor: Preprocessor,
        *,
        padding: str = "zeros",
        modality_dropout: ModalityDropout | None = None,
    ) -> None:
        super().__init__()
        if ENSEMBLE in backbone.layout.modalities:
            raise ValueError(f"no modality may be called {ENSEMBLE!r}: that is the name of the joint prediction")
        if padding not in PADDINGS:
            raise ValueError(f"padding is {padding!r}; expected one of {PADDINGS}")
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self.data_preprocessor, self.padding, self.modality_dropout = preprocessor, padding, modality_dropout
        self.layout: StackLayout = backbone.layout
        self.modalities: tuple[str, ...] = backbone.layout.modalities
        self.recipe: dict[str, Any] | None = None

    @property
    def tasks(self) -> dict[str, Task]:
        """The task of each head."""
        return {name: head.task for name, head in self.named_heads()}

    def named_heads(self) -> Iterator[tuple[str, Head]]:
        """Name and head, in order."""
        yield from self.heads.items()  # type: ignore[misc]  # a ModuleDict forgets what it holds

    @property
    def alternates(self) -> bool:
        """Whether a training step takes a second pass, for discriminators."""
        return any(head.opponent is not None for _, head in self.named_heads())

    @property
    def needs_unused_parameter_search(self) -> bool:
        """Whether some training steps leave parameters without a gradient."""
        return self.modality_dropout is not None or self.backbone.single_branch or self.alternates

    @property
    def stride(self) -> int:
        """What the sides of the backbone's inputs must be multiples of."""
        return self.backbone.multiple if self.padding != "none" else 1

    def set_epoch_seed(self, seed: int) -> None:
        """Restarts the draws of modality dropout; the seed must be the same in all processes of a run."""
        if self.modality_dropout is not None:
            self.modality_dropout.set_seed(seed)

    def compile_network(self, **options: Any) -> None:
        """Compiles backbone and decoders in place by torch.compile; the state dict keeps its keys.

        Each subset of the modalities is compiled on its own, in training and in evaluation; torch's limit on that is
        raised so that none of them falls back to eager execution.
        """
        dynamo = torch._dynamo.config
        dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * 2 ** len(self.modalities))
        network: nn.Module = getattr(self.backbone, "network", typing.cast(nn.Module, self.backbone))
        network.compile(**options)
        for _, head in self.named_heads():
            head.decoder.compile(**options)

    def forward(
        self,
        inputs: Inputs,  # [N, c, H, W] each, normalised
        targets: Mapping[str, Target] | None = None,
        sample_id: Sequence[str] | None = None,
        mode: str = "tensor",
        shown: Shown | None = None,
    ) -> Any:
        """Runs the model in one of its modes, on what `data_preprocessor` gives.

        ``"tensor"``: what every branch and the ensemble put out at the inputs' size, {name: [N, C, H, W]} of a model of
        one head and {head: {name: ...}} of several: logits, or maps in -1..1. ``"predict"``: what `Predictor` gives
        with the protocol ``rgbx``. ``"loss"``: {``loss_NAME``: scalar}, to be added up; with several heads
        ``loss_HEAD_NAME``. ``"generator"``: these, and what the discriminators are to see; ``"discriminator"``: their
        losses for what was ``shown``.

        Raises:
            ValueError: another mode, inputs with none of the modalities, or losses without a target.
        """
        if mode == "predict":
            return Predictor(self).predict(inputs, targets, sample_id)
        if mode == "tensor":
            outputs = self.outputs(inputs)
            return outputs if len(outputs) > 1 else next(iter(outputs.values()))
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; expected one of {MODES}")
        if mode == "discriminator":
            return self._discriminator_losses(targets or {}, shown)
        seen = self._drawn(inputs)
        outputs, penalty = self._run(seen)
        losses, kept = self._losses(seen, outputs, targets or {})
        if penalty is not None:
            losses["loss_fusion"] = penalty
        return losses if mode == "loss" else (losses, kept)

    def predict(self, batch: Mapping[str, Any], **options: Any) -> list[dict[str, Any]]:
        """Predicts a collated batch in its own units, see `Predictor`, whose arguments the options are."""
        return Predictor(self, **options)(batch)

    def outputs(self, inputs: Inputs, *, resize: str = "bilinear") -> Outputs:
        """What every branch and the ensemble of every head put out, at the inputs' own size, whatever it is.

        Args:
            inputs: modality to normalised [N, c, H, W].
            resize: from the decoder's size, "bilinear" or "bicubic".

        Raises:
            ValueError: inputs with none of the modalities.
        """
        return self._run(inputs, resize)[0]

    def _run(self, inputs: Inputs, resize: str = "bilinear") -> tuple[Outputs, Tensor | None]:
        """The outputs, and what the fusion method adds to the loss of this call."""
        present = {name: inputs[name] for name in self.modalities if name in inputs}
        if not present:
            raise ValueError(f"inputs hold {sorted(inputs)}; expected at least one of {list(self.modalities)}")
        height, width = next(iter(present.values())).shape[-2:]
        padded = {name: self._pad(x) for name, x in present.items()}
        size = next(iter(padded.values())).shape[-2:]
        if self.training:
            self._check_batch_norm(next(iter(padded.values())))
        found: Outputs = {}
        with self.layout.holding(present):
            features = self.backbone(padded)
            branches = () if self.backbone.single_branch else tuple(present)
            for name, head in self.named_heads():
                names, stack = head(features, branches)
                if stack.shape[-2:] != size:
                    stack = F.interpolate(stack, size=size, mode=resize, align_corners=False)
                parts = stack[..., :height, :width].split([stack.shape[0] // len(names)] * len(names))
                found[name] = dict(zip(names, parts, strict=True))
            return found, fusion_penalty(typing.cast(nn.Module, self.backbone), self.layout) if self.training else None

    def _pad(
        self,
        x: Tensor,  # [N, c, H, W]
    ) -> Tensor:
        if self.padding == "none":
            return x
        height, width = x.shape[-2:]
        multiple, smallest = self.backbone.multiple, self.backbone.smallest
        bottom, right = (max(side + -side % multiple, smallest) - side for side in (height, width))
        if not bottom and not right:
            return x
        if self.padding == "zeros":
            return F.pad(x, (0, right, 0, bottom))
        return F.pad(x, (0, right, 0, bottom), mode="reflect" if bottom < height and right < width else "replicate")

    def _check_batch_norm(
        self,
        x: Tensor,  # [N, c, H, W], padded
    ) -> None:
        """Training statistics need more than one value, also at the deepest stage."""
        batch, _, height, width = x.shape
        stride = self.backbone.strides[-1]
        if not self.backbone.norm_eval and batch * -(-height // stride) * -(-width // stride) < 2:
            raise ValueError(
                f"a batch of 1 image of {height}×{width} leaves one pixel at stride {stride}, too few for the "
                "statistics of batch norm; train on larger images, on more of them, or with norm_eval=True"
            )

    def _drawn(self, inputs: Inputs) -> dict[str, Tensor]:
        """The inputs of a training step: those that modality dropout leaves."""
        present = [name for name in self.modalities if name in inputs]
        if self.training and self.modality_dropout is not None:
            present = [name for name in self.modality_dropout.draw() if name in present] or present
        return {name: inputs[name] for name in present}

    def _losses(
        self, inputs: dict[str, Tensor], outputs: Outputs, targets: Mapping[str, Target]
    ) -> tuple[dict[str, Tensor], Shown]:
        """Losses of all heads, and what their opponents are to see."""
        losses: dict[str, Tensor] = {}
        shown = Shown(inputs, {})
        for name, head in self.named_heads():
            target = self._target(name, head, targets)
            found = head.task.losses(outputs[name], target)
            if head.opponent is not None and isinstance(head.task, Map):
                images = head.task.shown(_own_images(outputs[name]), target.valid)
                found |= head.opponent.head_losses(inputs, images, head.task.normalise(*target))
                shown.images[name] = {branch: image.detach() for branch, image in images.items()}
            losses |= {self._named(name, key): x if head.weight == 1 else head.weight * x for key, x in found.items()}
        return losses, shown

    def _discriminator_losses(self, targets: Mapping[str, Target], shown: Shown | None) -> dict[str, Tensor]:
        if not self.alternates:
            raise ValueError("this model was built without a discriminator")
        if shown is None:
            raise ValueError("mode 'discriminator' needs what mode 'generator' has shown")
        losses = {}
        for name, head in self.named_heads():
            if head.opponent is not None and isinstance(head.task, Map):
                target = head.task.normalise(*self._target(name, head, targets))
                loss = head.opponent.own_loss(shown.inputs, shown.images[name], target)
                losses[self._named(name, "loss_discriminator")] = loss
        return losses

    def _target(self, name: str, head: Head, targets: Mapping[str, Target]) -> Target:
        if name not in targets:
            raise ValueError(f"the batch has no {head.task.target!r}; training needs the target of head {name!r}")
        return targets[name]

    def _named(self, head: str, loss: str) -> str:
        return loss if len(self.heads) == 1 else f"loss_{head}_{loss.removeprefix('loss_')}"


def _own_images(
    outputs: Mapping[str, Tensor],  # [N, C, H, W] each
) -> dict[str, Tensor]:
    """Without the ensemble of a single branch, which is the same image."""
    return {name: x for name, x in outputs.items() if name != ENSEMBLE or len(outputs) != 2}
