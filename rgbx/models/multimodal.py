"""A network that gives features, and heads that read them: the one model of rgbx.

Each modality keeps its own prediction o_m in every head, and the head's ensemble is Σ_m softmax(α)_m · o_m. With a
subset of the modalities present, softmax(α) runs over that subset. A fusion method that merges the modalities leaves
one prediction, which is the ensemble, and no α.

Source: arXiv 2108.05009, section 3.4; several heads on one backbone are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.fusion import fusion_penalty
from rgbx.layers import StackLayout
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.predict import Predictor
from rgbx.models.preprocess import Preprocessor
from rgbx.tasks import ENSEMBLE, Map, Target, Task
from rgbx.tasks.adversarial import Opponent

ENSEMBLES = ("learned", "mean")
PADDINGS = ("zeros", "reflect", "none")
MODES = ("tensor", "loss", "predict", "generator", "discriminator")

Inputs = Mapping[str, Tensor]  # modality: [N, c, H, W]
Outputs = dict[str, dict[str, Tensor]]  # head: branch or "ensemble": [N, C, H, W]


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
        getattr(self.backbone, "network", self.backbone).compile(**options)
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
            return found, fusion_penalty(self.backbone, self.layout) if self.training else None

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


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """No gradients for the modules' parameters; they still flow through them to their inputs."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
