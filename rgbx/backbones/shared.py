"""Any timm network as one backbone for several modalities: shared weights, private norms, fused stages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._text import one_of
from rgbx.backbones._timm import TimmNetwork
from rgbx.backbones.network import (
    PYRAMID,
    Anatomy,
    Form,
    Stage,
    create_network,
    find_module,
    first_of,
    inner,
    layers_of_images,
)
from rgbx.backbones.pyramid import FeaturePyramid
from rgbx.backbones.residual import checkpoint_blocks, residual_blocks
from rgbx.backbones.stems import fit_stems, needs_stem, replace_first_convs, widen_first_convs
from rgbx.backbones.weight_scale import IMAGENET, Scale
from rgbx.backbones.weights import load_pretrained, report
from rgbx.fusion import FusionMethod
from rgbx.layers import (
    CLIP,
    Adapters,
    Hallucinate,
    Hallucination,
    Purification,
    StackLayout,
    StageGates,
    concatenate_modalities,
    owner,
    replace_norms,
    separate_layers,
    split_modalities,
    stack_modalities,
)
from rgbx.layers.adapters import adapt_layers, can_be_adapted
from rgbx.layers.codes import Codes
from rgbx.layers.hallucination import FIRST_INPUT
from rgbx.layers.purification import INPUTS, StageInput
from rgbx.layers.stages import chosen_stages

logger = logging.getLogger(__name__)
WEIGHTS = ("shared", "separate")
FREEZES = (None, "shared", "all")


class SharedBackbone(nn.Module):
    """A timm feature network that processes every modality with the same weights.

    The modalities present are stacked on the batch axis, so each convolution runs once; norms are private to a
    modality and fusion lets the modalities exchange features in the stages chosen by the method. One-channel maps are
    repeated to the three channels of the stem. Stages at strides below 4 are computed but not returned.

    Attributes:
        layout: the stack's layout; heads that use private norms share it.
        channels: channels of each returned stage.
        strides: stride of each returned stage.
        multiple: what the sides of the inputs should be multiples of, the deepest stride.
        smallest: what they have at least.
        frames: fuses the frames of clips, and of stills, see `FusionMethod.fuse_frames`; None where none are read.
        single_branch: whether the fusion method merges the modalities, so that maps have N samples instead of M*N.
        purification: the gates on the stages' inputs, or None; what they leave of a call lies in `layout.gates`.
        hallucination: what fills in branches of modalities that are absent in a call by `layout.trace`, or None.

    Source: arXiv 2108.05009, section 3.
    """

    def __init__(
        self,
        name: str,
        modalities: tuple[str, ...],
        *,
        fusion: FusionMethod | None = None,
        norm: str = "private",
        weights: str = "shared",
        pretrained: str | None = None,
        norm_eval: bool = False,
        stems: Mapping[str, str] | None = None,
        input_channels: Mapping[str, int] | None = None,
        purification: Purification | None = None,
        hallucinate: Hallucinate | None = None,
        rgb: Scale = IMAGENET,
        freeze: str | None = None,
        adapters: Adapters | None = None,
    ) -> None:
        """Builds the network.

        Args:
            name: a timm model that supports ``features_only``.
            modalities: names of the modalities, in the order of the ring in which they exchange.
            fusion: how modalities exchange features; None for no exchange.
            norm: ``"private"``, ``"affine"`` or ``"shared"``, see `rgbx.layers.modality_norm`.
            weights: ``"shared"``: one network for all modalities; ``"separate"``: an encoder for each, joined by the
                fusion method alone (what other works do, for comparison).
            pretrained: None, or where to find weights: ``"timm"``, a timm name with a tag, ``"hf-hub:OWNER/NAME"`` or
                the path of a file, see `rgbx.backbones.weight_source`. Each modality's norms start from the same.
            norm_eval: keep the running statistics of all norms frozen in training (the AsymFusion recipe).
            stems: modalities with a first convolution of their own, made from the shared one: ``"sum"`` or ``"mean"``
                over its input channels, ``"copy"`` or ``"random"``, see `rgbx.backbones.stems`.
            input_channels: of the maps of modalities, where others than 1 are known; maps of other than 1 and 3
                channels need stems.
            purification: gates on the inputs of stages, see `rgbx.layers.Purification`; None for none. A fusion method
                that joins the inputs has one, on the inputs before they are joined.
            hallucinate: fills in branches of absent modalities, see `rgbx.layers.Hallucination`; None does not.
            rgb: how RGB is normalised; the first convolution of weights trained on another scale is refitted to it.
            freeze: what of timm's network keeps its weights: ``"shared"``: all but private norms and first
                convolutions; ``"all"``: these as well, and statistics of norms. What is added to the network learns.
            adapters: low-rank updates of its layers that are private to a modality; None for none.

        Raises:
            ValueError: for an unknown network, norm variant, stage number or stem, or gates on what is no map.
        """
        super().__init__()
        joined = fusion is not None and fusion.concatenates_inputs
        _check_weights(weights, norm, joined=joined, stems=bool(stems))
        if freeze not in FREEZES:
            raise ValueError(f"freeze is {freeze!r}; expected None, 'shared' or 'all'")
        if adapters is not None and (joined or weights == "separate"):
            raise ValueError("adapters belong to shared encoders that read one modality at a time; leave them out here")
        self.layout = StackLayout(modalities)
        self.norm_eval = norm_eval
        network, self.anatomy = create_network(name)
        core = inner(network)
        self.pretrained_summary = load_pretrained(core, name, pretrained, rgb=rgb) if pretrained else None
        self.concatenates_inputs = joined
        if joined:
            norm = "shared"
            widen_first_convs(core, len(self.layout.modalities), keep=pretrained is not None)
        paths = [] if adapters is None else layers_of_images(network, self.anatomy, can_be_adapted)
        self.purification = _gates(network, self.anatomy, name, self.layout, purification, joined=joined)
        self.norm = norm
        if replace_norms(network, self.layout, norm) == 0 and norm != "shared":
            raise ValueError(f"backbone {name} has no norm to make private; choose another, or norm='shared'")
        self.stems, self.input_channels = dict(stems or {}), dict(input_channels or {})
        if self.stems or any(map(needs_stem, self.input_channels.values())):
            replace_first_convs(core, self.layout, self.stems, self.input_channels)
        if freeze == "shared" and self.norm == "shared":
            raise ValueError(
                "freeze='shared' leaves what is private to a modality to learn, and with norm='shared', or inputs that "
                "the fusion method joins, nothing is: use freeze='all', or norm='private' and another fusion method"
            )
        for path, parameter in network.named_parameters() if freeze is not None else ():
            parameter.requires_grad_(freeze == "shared" and owner(path) is not None)
        if adapters is not None:
            self._adapt(name, network, paths, adapters)
        self.freeze = freeze
        self.pyramid = self._pyramid(norm)
        if weights == "separate":
            separate_layers(network, self.layout)
            if self.pyramid is not None:
                separate_layers(self.pyramid, self.layout)
        stages = self.anatomy.stages
        self.channels = (
            tuple(s.channels for s in stages) if self.pyramid is None else (self.pyramid.width,) * len(PYRAMID)
        )
        self.strides = tuple(s.stride for s in stages) if self.pyramid is None else PYRAMID
        self.multiple, self.smallest = self.anatomy.multiple, 1
        self._resizes = self.anatomy.size is not None or self.anatomy.actual != stages[-1].stride
        self._channels_last_output = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
        self.network = network
        self.stage_fusions = nn.ModuleList()
        self.merge = None if fusion is None else fusion.merge_features(self.channels, self.layout)
        self.frames = None if fusion is None else fusion.fuse_frames(self.channels, self.layout)
        self.single_branch = self.concatenates_inputs or self.merge is not None
        self.hallucination = None if hallucinate is None else self._hallucinate(hallucinate)
        self._after: list[list[Callable[[Tensor], Tensor]]] = [[] for _ in stages]  # what is done to maps at the end
        self._hook({} if fusion is None or joined else self._fusions(fusion))
        self._purify()
        if self.pretrained_summary is not None:
            self.pretrained_summary = report(self.pretrained_summary, core, len(self.layout.modalities))
        # timm's own would not tell what is computed again which modalities it is for
        blocks = [block for name, block in residual_blocks(network).items() if name]
        network.set_grad_checkpointing = partial(checkpoint_blocks, blocks, self.layout)

    @property
    def codes(self) -> dict[int, Codes]:
        """The codes of the modalities, by the number of the stage: those that fusion reads, or else hallucination."""
        found = {} if self.hallucination is None else self.hallucination.codes
        return {**found, **{int(number): codes for number, codes in getattr(self.merge, "codes", {}).items()}}

    def _adapt(self, name: str, network: nn.Module, paths: Sequence[str], options: Adapters) -> None:
        """Gives layers their private updates, and tells of those that get none.

        Raises:
            ValueError: there is no such layer.
        """
        if adapt_layers(network, paths, self.layout, options) == 0:
            raise ValueError(f"backbone {name} has no linear layer and no 1x1 convolution for adapters")
        others = [path for path, layer in network.named_modules() if can_be_adapted(layer) and ".update." not in path]
        if others:
            told = "%d layers of %s get no adapter, as they are not called on images, such as %s"
            logger.warning(told, len(others), name, others[0])

    def _pyramid(self, norm: str) -> FeaturePyramid | None:
        """What makes maps at several strides of the last stage's map, where all stages have one stride."""
        if not self.anatomy.plain:
            return None
        last = self.anatomy.stages[-1]
        pyramid = FeaturePyramid(last.channels, last.stride, PYRAMID)
        replace_norms(pyramid, self.layout, norm)
        return pyramid

    def _hallucinate(self, options: Hallucinate) -> Hallucination:
        """What fills in: in the stages, before fusion and gates, or at the end where not all stages can be changed.

        Raises:
            ValueError: one modality, or a fusion method that joins the inputs or reads clips.
        """
        if len(self.layout.modalities) < 2 or self.concatenates_inputs or self.frames is not None:
            why = "joins the inputs" if self.concatenates_inputs else "reads clips"
            why = "there is one" if len(self.layout.modalities) < 2 else f"the fusion method {why}"
            raise ValueError(
                f"hallucinate fills in features of absent modalities from those of others, and {why}: "
                f"{list(self.layout.modalities)}; leave hallucinate out"
            )
        stages, self._fills_after = self.anatomy.stages, self.pyramid is not None
        self._fills_after = self._fills_after or any(stage.output is None for stage in stages)
        first = None if self._fills_after else stages[0].input
        channels = {} if first is None else {FIRST_INPUT: first.channels}
        found = Hallucination({**channels, **dict(enumerate(self.channels, 1))}, self.layout, options)
        if first is not None:
            fill = partial(found, point=FIRST_INPUT)
            hook = partial(_change_input, fill, first, self.layout)
            _module(self.network, stages[0]).register_forward_pre_hook(hook)
        return found

    @property
    def reads_clips(self) -> bool:
        """Whether inputs may be clips [N, T, c, H, W]."""
        return self.frames is not None

    def _fusions(self, fusion: FusionMethod) -> dict[int, nn.Module]:
        """Modules that change the outputs of stages, by the stage's number; others act inside the stage."""
        found: dict[int, nn.Module] = {}
        for number in fusion.chosen(len(self.anatomy.stages), "backbone"):
            stage = self.anatomy.stages[number - 1]
            inside = find_module(self.network, stage.path) if stage.output is not None else None
            module = fusion.fuse_stage(inside or nn.Identity(), stage.channels, self.layout)
            if module is not None:
                self.stage_fusions.append(module)
                found[number] = module
        return found

    def _hook(self, fusions: Mapping[int, nn.Module]) -> None:
        """Lets outputs of stages be filled in and fused where a module holds them, or else what the network gives.

        Raises:
            ValueError: fusion inside a network whose absent modalities are filled in at its end.
        """
        inside = self.hallucination is not None and not self._fills_after
        for number, stage in enumerate(self.anatomy.stages, 1):
            fill = [partial(self.hallucination, point=number)] if self.hallucination is not None and inside else []
            changes: list[Callable[[Tensor], Tensor]] = [*fill, *([fusions[number]] if number in fusions else [])]
            if not changes:
                continue
            if stage.output is None:
                self._after[number - 1] += changes
                continue
            if self.hallucination is not None and self._fills_after:
                raise ValueError(
                    f"absent modalities are filled in after the last stage of {type(inner(self.network)).__name__}, "
                    f"and this fusion method acts in stage {number}, before; choose fusion 'late' or None, or leave "
                    "hallucinate out"
                )
            # before hooks of timm's own, which note what the network gives
            hook = partial(_change_output, changes, stage.output, self.layout)
            _module(self.network, stage).register_forward_hook(hook, prepend=True)

    def _purify(self) -> None:
        for gate in () if self.purification is None else self.purification.of_stages():
            if gate.stage != INPUTS:
                stage = self.anatomy.stages[gate.stage - 1]
                assert stage.input is not None
                hook = partial(_change_input, gate, stage.input, self.layout)
                _module(self.network, stage).register_forward_pre_hook(hook)

    def train(self, mode: bool = True) -> SharedBackbone:
        """Switches training mode; the network's norms stay frozen where `norm_eval` is set, not a fusion method's."""
        super().train(mode)
        if mode and (self.norm_eval or self.freeze == "all"):
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trades time for memory: residual blocks compute their activations again in the backward pass.

        Statistics of batch norm that are not frozen see each batch twice then, as in timm.

        Raises:
            ValueError: for a network without residual blocks.
        """
        self.network.set_grad_checkpointing(enable)

    def forward(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Features of the modalities given.

        Args:
            inputs: normalised maps [N, 1 or 3, H, W] of any non-empty subset of the modalities, equal in size, or as
                many channels as a stem reads; where the fusion method reads clips also [N, T, 1 or 3, H, W].

        Returns:
            One stack [M*N, C, h, w] per stage, modality-major in declared order. Where the fusion method merges the
            modalities (`single_branch`), [N, C, h, w].
        """
        with self.layout.holding(inputs):
            if self.frames is not None:
                return self.frames(self._frame_features(inputs))
            features = self._features(inputs)
            if self.merge is None:
                return features
            if self.layout.trace is not None:
                self.layout.trace.merging = features
            return self.merge(features)

    def _features(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Stacks [M*N, C, h, w] of the modalities present, or [N, C, h, w] of joined inputs."""
        channels = 3
        if self.stems:
            inputs, channels = fit_stems(inputs, self.stems, self.input_channels)
        if self.concatenates_inputs:
            if self.purification is not None:
                gated = self.purification.gate(INPUTS)(stack_modalities(inputs, self.layout))
                inputs = split_modalities(gated, self.layout)
            x = concatenate_modalities(inputs, self.layout)
        else:
            x = stack_modalities(inputs, self.layout, channels)
        features = self._stages(x)
        if self.hallucination is None or not self._fills_after:
            return features
        return [self.hallucination(x, number) for number, x in enumerate(features, 1)]

    def _stages(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> list[Tensor]:
        """What the network gives of images, [M*N, C_i, H / stride_i, W / stride_i] of each stage or pyramid level.

        Raises:
            ValueError: for sides that the network does not read.
        """
        image = (x.shape[2], x.shape[3])
        if self.anatomy.strict and (image[0] % self.multiple or image[1] % self.multiple):
            raise ValueError(
                f"images are of {image[0]}x{image[1]} pixels; {type(inner(self.network)).__name__} reads multiples of "
                f"{self.multiple}: pad them (pad_to_stride=True does)"
            )
        size = self.anatomy.read(image) if self._resizes else image
        with self.layout.holding(self.layout.present, size=size):
            maps = self.network(x if size == image else _resized(x, size))
        maps = [maps[stage.place] for stage in self.anatomy.stages]
        if self._channels_last_output:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        maps = [reduce(lambda x, change: change(x), *each) for each in zip(self._after, maps, strict=True)]
        if self.pyramid is not None:
            maps = self.pyramid(maps[-1])
        if self.anatomy.size is None:
            return maps
        return [_resized(x, (image[0] // s, image[1] // s)) for x, s in zip(maps, self.strides, strict=True)]

    def _frame_features(self, inputs: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Of each stage {modality: [N, T, C, h, w]}: stills as one stack, clips by modality, as T is each one's own."""
        if all(x.ndim != CLIP for x in inputs.values()):
            stills = (split_modalities(x, self.layout) for x in self._features(inputs))
            return [{name: x.unsqueeze(1) for name, x in stage.items()} for stage in stills]
        if self.purification is not None:
            raise ValueError("gates of purification read stills: take purification out of a model of clips")
        if self.norm != "private":
            raise ValueError(
                f"norm is {self.norm!r}, whose statistics are of all modalities together; clips pass one by one, each "
                "with its number of frames, and need norm='private'"
            )
        found = {}
        for name in self.layout.present:
            clip = inputs[name] if inputs[name].ndim == CLIP else inputs[name].unsqueeze(1)
            with self.layout.holding([name]):
                features = self._features({name: clip.flatten(0, 1)})
            found[name] = [x.unflatten(0, (-1, clip.shape[1])) for x in features]
        return [{name: stages[i] for name, stages in found.items()} for i in range(len(self.channels))]


def _check_weights(weights: str, norm: str, *, joined: bool, stems: bool) -> None:
    """Refuses separate encoders, joined inputs, stems and norm variants that contradict each other."""
    if weights not in WEIGHTS:
        raise ValueError(f"weights is {weights!r}; expected one of {one_of(WEIGHTS, weights)}")
    separate = weights == "separate"
    if separate and norm != "private":
        raise ValueError(f"weights='separate' has private norms in each encoder; norm is {norm!r}")
    if separate and joined:
        raise ValueError("weights is 'separate', but this fusion method joins the inputs: one encoder for all")
    if stems and (separate or joined):
        raise ValueError("stems belong to shared encoders that read one modality at a time; leave them out here")


def _module(network: nn.Module, stage: Stage) -> nn.Module:
    """The module that ends with a stage.

    Raises:
        ValueError: where the network has none that holds a map.
    """
    module = find_module(network, stage.path)
    if module is None or stage.output is None:
        raise ValueError(
            f"{type(inner(network)).__name__} has no module {stage.path!r} that holds the map of its stage, so it "
            "cannot be gated there"
        )
    return module


def _gates(
    network: TimmNetwork,
    anatomy: Anatomy,
    name: str,
    layout: StackLayout,
    options: Purification | None,
    *,
    joined: bool,
) -> StageGates | None:
    """The gates that options ask for.

    Raises:
        ValueError: for a stage that the network does not have, or whose input is no map, or stages of joined inputs, or
            a network that sees images at another size.
    """
    if options is None:
        return None
    if joined:
        if options.stages is not None:
            raise ValueError(
                f"purification field stages is {list(options.stages)}, but this fusion method joins the inputs: its "
                "one gate is on these; leave stages out"
            )
        return StageGates({INPUTS: StageInput(3, 1)}, layout, options)
    if anatomy.size is not None:
        raise ValueError(
            f"backbone {name} cannot be purified: it reads images of {anatomy.size[0]}x{anatomy.size[1]} alone, so "
            "that its maps are not of the pixels of others"
        )
    numbers = chosen_stages(options.stages, len(anatomy.stages), "purification", "backbone")
    found = {}
    for number in numbers:
        stage = anatomy.stages[number - 1]
        _module(network, stage)
        if stage.input is None:
            raise ValueError(f"backbone {name} cannot be purified: the input of its stage {number} is no map")
        found[number] = StageInput(
            stage.input.channels, stage.input.stride * anatomy.stages[-1].stride // anatomy.actual
        )
    return StageGates(found, layout, options)


def _change_input(
    change: Callable[[Tensor], Tensor],  # of [M*N, C, H, W]
    form: Form,
    layout: StackLayout,
    _stage: nn.Module,
    inputs: tuple[Tensor, ...],  # [M*N, C, H, W], or as the network holds the map, and what else it reads
) -> tuple[Tensor, ...]:
    """Forward pre-hook: the stage reads what its gate lets through, or with absent modalities filled in."""
    x, *others = inputs
    return form.held(change(form.map(x, layout.size)), x), *others


def _change_output(
    changes: Sequence[Callable[[Tensor], Tensor]],  # of [M*N, C, H, W]
    form: Form,
    layout: StackLayout,
    _stage: nn.Module,
    _inputs: tuple[object, ...],
    output: object,  # [M*N, C, H, W], or as the network holds the map, or a tuple or list of that and other things
) -> object:
    """Forward hook: the next stage, and whoever asked for this one, read what is filled in and fused."""
    x = first_of(output)
    assert isinstance(x, Tensor)
    changed = form.map(x, layout.size)
    for change in changes:
        changed = change(changed)
    found = form.held(changed, x)
    return type(output)([found, *output[1:]]) if isinstance(output, (tuple, list)) else found


def _resized(
    x: Tensor,  # [M*N, C, H, W]
    size: tuple[int, int],
) -> Tensor:
    """The maps at another size, [M*N, C, *size]."""
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def to_channels_last(module: nn.Module) -> None:
    """Stores convolution weights channels-last, which CPU and tensor-core convolutions run fastest on."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
