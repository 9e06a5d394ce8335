"""The builder of models, with plain parameters: what stands between a config or checkpoint and the classes.

`multimodal` builds every model; `multimodal_segmentor`, `multimodal_translator` and `multimodal_embedder` are its usual
forms with flat parameters. All leave the same recipe in the model, complete with defaults, so that recipes can be
compared.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from torch import nn

from rgbx._text import check_options, one_of
from rgbx._types import Options
from rgbx.backbones import SharedBackbone, to_channels_last
from rgbx.backbones.stems import needs_stem
from rgbx.backbones.weight_scale import IMAGENET, Scale
from rgbx.fusion import FusionMethod, build_fusion
from rgbx.generators import ResNetGenerator, UNetGenerator
from rgbx.heads import DECODERS, ChannelSlice, build_decoder, find_decoder, output_stride
from rgbx.layers import StackLayout, build_adapters, build_hallucinate, build_purification
from rgbx.models.modality_dropout import build_dropout, complete_dropout
from rgbx.models.multimodal import ENSEMBLES, Head, MultimodalModel, Preprocessor, Span, input_options
from rgbx.objectives import Site, build_objective, complete_objectives
from rgbx.tasks import Task, build_task, find_task
from rgbx.tasks.adversarial import Opponent
from rgbx.tasks.map_range import range_options

GENERATORS: dict[str, type[UNetGenerator] | type[ResNetGenerator]] = {"unet": UNetGenerator, "resnet": ResNetGenerator}
HEAD_OPTIONS = {"decoder": None, "weight": 1.0, "detach_ensemble": True, "adversarial": None}  # beside the task's own
THREE_CHANNELS = ("rgb", "normal", "hha")


def multimodal(
    *,
    modalities: Sequence[str],
    heads: Mapping[str, Options],
    backbone: Options | str = "resnet18",
    pretrained: str | None = None,
    fusion: Options | str | None = "asymmetric",
    norm: str = "private",
    norm_eval: bool = False,
    weights: str = "shared",
    stems: Mapping[str, str] | None = None,
    normalization: str | None = None,
    statistics: Options | None = None,
    ranges: Options | None = None,
    padding: str | None = None,
    modality_dropout: Options | float | None = None,
    objectives: Sequence[Options | str] = (),
    purification: Options | str | None = None,
    hallucinate: Options | bool = False,
    freeze: str | None = None,
    adapters: Options | int | None = None,
) -> MultimodalModel:
    """One network for all modalities and any number of heads; by default AsymFusion (arXiv 2108.05009).

    Args:
        modalities: names in the order of the ring in which they exchange, e.g. ``("rgb", "depth")``.
        heads: name to ``dict(task="classes", num_classes=K, ...)`` or ``dict(task="map", unit=..., ...)``: options of
            `Classes`, `Map` or a task of your own, and ``decoder`` (a name or ``{"name": ..., **options}``, see
            `rgbx.heads`), ``weight`` of the head's losses, ``detach_ensemble``, and for maps ``adversarial``: options
            of `Opponent`.
        backbone: a timm model with ``features_only``, or a whole generator, ``"unet"`` or ``"resnet"``, or
            ``{"name": ..., **options}`` of `UNetGenerator` and `ResNetGenerator`; heads on these have no decoder.
        pretrained: None, ``"timm"``, a timm name with a tag, ``"hf-hub:OWNER/NAME"`` or the path of a weight file; not
            kept in checkpoints.
        fusion: a method's name or ``{"name": ..., **fields}``, see `rgbx.fusion`; None for no exchange.
        norm: ``"private"``, ``"affine"`` or ``"shared"``.
        norm_eval: keep the backbone's running statistics frozen in training.
        weights: ``"shared"``, or ``"separate"`` for an encoder per modality.
        stems: modalities with a first convolution of their own, by how it is made: ``"sum"``, ``"mean"``, ``"copy"`` or
            ``"random"``, see `rgbx.backbones.stems`. Maps of other than 1 and 3 channels, as their statistics say, need
            one.
        normalization: of inputs, ``"statistics"`` or ``"range"`` (-1..1); None for what suits the backbone: ImageNet
            statistics a timm network, -1..1 a generator.
        statistics, ranges: normalization of modalities without a default, see `Preprocessor`.
        padding: to multiples of the stride: ``"zeros"``, ``"reflect"`` or ``"none"``; None for zeros on a timm network
            and reflection on a generator.
        modality_dropout: probability of training a step on a proper subset, or
            ``dict(probability=..., ramp=...)`` of `rgbx.models.ModalityDropout`; None never draws one.
        objectives: further losses of training: names or ``{"name": ..., "weight": 1.0, **options}``, see
            `rgbx.objectives`.
        purification: gates that mask what is not to be believed before modalities meet: ``"cross"`` or ``"own"``, or a
            dict of the fields of `rgbx.layers.Purification`; None for none. Of timm networks only.
        hallucinate: whether branches of modalities that are absent at test are filled in from those present: True, or a
            dict of the fields of `rgbx.layers.Hallucinate`. Of timm networks only.
        freeze: what of a timm network keeps its weights in training: ``"shared"``: all but private norms and stems, or
            ``"all"``; None for nothing.
        adapters: low-rank updates of a timm network's layers, of each modality its own: a rank, or a dict of the fields
            of `rgbx.layers.Adapters`; None for none.

    Raises:
        ValueError: an unknown name or option, or options that contradict each other; the message names it.
    """
    parameters = complete(
        modalities=modalities,
        heads=heads,
        backbone=backbone,
        fusion=fusion,
        norm=norm,
        norm_eval=norm_eval,
        weights=weights,
        stems=stems,
        normalization=normalization,
        statistics=statistics,
        ranges=ranges,
        padding=padding,
        modality_dropout=modality_dropout,
        objectives=objectives,
        purification=purification,
        hallucinate=hallucinate,
        freeze=freeze,
        adapters=adapters,
    )
    return build_complete(parameters, pretrained=pretrained)


def complete(**given: Any) -> dict[str, Any]:
    """The parameters of `multimodal` in plain containers and with every default, so that equal models have equal ones.

    Raises:
        ValueError: an unknown name or option, or one of a wrong kind.
    """
    signature = inspect.signature(multimodal)
    check_options(given, [name for name in signature.parameters if name != "pretrained"], "a model")
    missing = [name for name in ("modalities", "heads") if name not in given]
    if missing:
        raise ValueError(f"a model needs {missing[0]!r}")
    found = {name: p.default for name, p in signature.parameters.items() if name != "pretrained"} | given
    names = found["modalities"]
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"modalities are {found['modalities']!r}; expected names such as ('rgb', 'depth')")
    if not isinstance(found["heads"], Mapping) or not found["heads"]:
        raise ValueError(f"heads are {found['heads']!r}; expected name: dict(task=...) of at least one head")
    found["backbone"] = _named(found["backbone"], "backbone")
    generator = found["backbone"]["name"] in GENERATORS
    method = build_fusion(found["fusion"])
    fusion = found["fusion"]
    if method is not None:
        named = {"name": fusion} if isinstance(fusion, str) else dict(fusion)
        found["fusion"] = {"name": named["name"], **dataclasses.asdict(method)}
    if (purification := build_purification(found["purification"])) is not None:
        found["purification"] = dataclasses.asdict(purification)
    hallucinate = build_hallucinate(found["hallucinate"])
    found["hallucinate"] = False if hallucinate is None else dataclasses.asdict(hallucinate)
    adapters = build_adapters(found["adapters"])
    found["adapters"] = None if adapters is None else dataclasses.asdict(adapters)
    found["normalization"] = found["normalization"] or ("range" if generator else "statistics")
    found["modality_dropout"] = complete_dropout(found["modality_dropout"])
    found["objectives"] = complete_objectives(found["objectives"])
    found["padding"] = found["padding"] or ("reflect" if generator else "zeros")
    found["heads"] = {name: _complete_head(name, head, generator) for name, head in found["heads"].items()}
    kind, modalities = found["normalization"], tuple(found["modalities"])
    if found[unused := "statistics" if kind == "range" else "ranges"]:
        raise ValueError(f"{unused} are given for inputs, but normalization is {kind!r}, which does not use them")
    options = input_options(modalities, kind, found["statistics"], found["ranges"])
    found |= {"statistics": None, "ranges": None, "ranges" if kind == "range" else "statistics": options}
    return {name: plain(value) for name, value in found.items()}


def _complete_head(name: str, given: Options, generator: bool) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"head {name!r} is {given!r}; expected a name in letters and dict(task=..., ...)")
    kind = find_task(given.get("task"))
    own = {
        key: parameter.default
        for key, parameter in inspect.signature(kind).parameters.items()
        if key != "head" and parameter.default is not inspect.Parameter.empty
    }
    found = {**HEAD_OPTIONS, **own, **given}
    if given["task"] == "map":
        found["range"] = range_options(found["target"] or name, found["range"], unit=found["unit"])
    if generator:
        if found["decoder"] is not None:
            raise ValueError(f"head {name!r}: a generator makes the images itself; leave decoder out")
        return found
    decoder = _named(found["decoder"] or kind.decoder, f"decoder of head {name!r}", default=kind.decoder)
    if decoder["name"] in DECODERS:  # others are refused when it is built
        parameters = inspect.signature(find_decoder(decoder["name"])).parameters.values()
        known = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        decoder = {**{key: value for key, value in known.items() if key not in ("norm", "stride")}, **decoder}
    return {**found, "decoder": decoder}


def _named(value: Options | str, what: str, default: str | None = None) -> dict[str, Any]:
    options = {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
    if default is not None:
        options.setdefault("name", default)
    if not isinstance(options.get("name"), str):
        raise ValueError(f"{what} is {value!r}; expected a name, or a dict of a name and options")
    return options


def plain(value: object) -> Any:
    """The value in plain containers, as checkpoints may hold.

    Raises:
        TypeError: something else than plain values.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, Fraction):
        return float(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a model parameter is {value!r}; expected plain numbers, strings, lists or dicts")


def build_complete(parameters: Options, *, pretrained: str | None = None) -> MultimodalModel:
    """Builds what `complete` gives, with random weights or those of `pretrained`.

    Raises:
        ValueError: see `multimodal`.
    """
    p = copy.deepcopy(dict(parameters))
    method = build_fusion(p["fusion"])
    tasks = {name: _build_task(name, head) for name, head in p["heads"].items()}
    _check_apart(p, tasks)
    backbone = _build_backbone(p, method, tasks, pretrained)
    generator = p["backbone"]["name"] in GENERATORS
    ensemble = "learned" if method is None else method.ensemble
    if ensemble not in ENSEMBLES:
        raise ValueError(f"ensemble is {ensemble!r}; expected one of {one_of(ENSEMBLES, ensemble)}")
    learned = ensemble == "learned" and not backbone.single_branch
    heads, start = {}, 0
    for name, head in p["heads"].items():
        task, stop = tasks[name], start + tasks[name].channels
        decoder = ChannelSlice(start, stop) if generator else _build_decoder(head, task, backbone, p["norm"])
        task.stride = output_stride(decoder, backbone.strides)
        heads[name] = Head(
            decoder,
            task,
            voters=p["modalities"] if learned else (),
            weight=head["weight"],
            detach_ensemble=head["detach_ensemble"],
            opponent=_build_opponent(name, head),
        )
        start = stop
    gated = backbone.purification is not None
    site = Site(
        tuple(p["modalities"]),
        backbone.channels,
        tasks,
        merged=backbone.single_branch,
        gated=gated,
        joined=backbone.concatenates_inputs,
        strides=backbone.strides,
        codes=backbone.codes,
    )
    model = MultimodalModel(
        backbone,
        heads,
        Preprocessor(
            p["modalities"], tasks, p["normalization"], statistics=p["statistics"] or None, ranges=p["ranges"] or None
        ),
        padding=p["padding"],
        modality_dropout=build_dropout(p["modality_dropout"], p["modalities"]),
        objectives=[build_objective(each, site) for each in p["objectives"]],
    )
    model.recipe = {"builder": "multimodal", "parameters": dict(parameters)}
    if model.modality_dropout is not None:
        model.keep_subset_statistics()
    if not generator:
        to_channels_last(model)
    return model


def _check_apart(p: Options, tasks: Mapping[str, Task]) -> None:
    """Refuses heads whose branches must not see another modality in a model that lets them."""
    apart = [name for name, task in tasks.items() if task.apart]
    fusion, gates = p["fusion"], p["purification"]
    wrong = ""
    if fusion is not None and fusion["name"] != "late":
        wrong = f"expected fusion='late' or None, found {fusion['name']!r}"
    elif gates is not None and gates["context"] != "own":
        wrong = f"expected purification='own' or None, found context={gates['context']!r}"
    elif p["hallucinate"]:
        wrong = "expected hallucinate=False, as what it fills in is made of the others"
    if apart and wrong:
        raise ValueError(
            f"head {apart[0]!r} of task {tasks[apart[0]].kind!r} compares modalities, so that none may see another; "
            f"{wrong}"
        )


def _build_task(name: str, head: Options) -> Task:
    return build_task(name, {key: value for key, value in head.items() if key not in HEAD_OPTIONS})


def _build_decoder(head: Options, task: Task, backbone: SharedBackbone, norm: str) -> nn.Module:
    variant = "shared" if backbone.single_branch else norm
    return build_decoder(
        head["decoder"], backbone.channels, task.channels, backbone.layout, strides=backbone.strides, norm=variant
    )


def _build_opponent(name: str, head: Options) -> Opponent | None:
    given = head["adversarial"]
    if given is None:
        return None
    if head["task"] != "map":
        raise ValueError(f"head {name!r}: adversarial is for maps, found task {head['task']!r}")
    check_options(given, inspect.signature(Opponent).parameters, f"head {name!r}: adversarial")
    return Opponent(**given)


def _build_backbone(p: Options, method: FusionMethod | None, tasks: Mapping[str, Task], pretrained: str | None) -> Any:
    options = dict(p["backbone"])
    name = options.pop("name")
    modalities = tuple(p["modalities"])
    if name not in GENERATORS:
        if options:
            raise ValueError(f"backbone {name!r} has no option {next(iter(options))!r}; a timm network takes none here")
        return SharedBackbone(
            name,
            modalities,
            fusion=method,
            norm=p["norm"],
            weights=p["weights"],
            pretrained=pretrained,
            norm_eval=p["norm_eval"],
            stems=p["stems"],
            input_channels=_input_channels(p),
            purification=build_purification(p["purification"]),
            hallucinate=build_hallucinate(p["hallucinate"]),
            rgb=_rgb_scale(p) if pretrained else IMAGENET,
            freeze=p["freeze"],
            adapters=build_adapters(p["adapters"]),
        )
    if pretrained:
        raise ValueError(f"pretrained={pretrained!r} is of a backbone; the generator {name!r} has no such weights")
    of_timm = (("weights", "shared"), ("norm_eval", False), ("stems", None), ("freeze", None), ("adapters", None))
    for key, usual in of_timm:
        if p[key] not in (usual, {}, None):
            raise ValueError(f"{key}={p[key]!r} is of a timm backbone; the generator {name!r} has it not")
    if p["purification"] is not None:
        raise ValueError(
            f"purification is of a timm backbone, whose stages read one map each; in the generator {name!r} layers "
            "also read the maps of earlier ones: leave purification out"
        )
    if p["hallucinate"]:
        raise ValueError(f"hallucinate is of a timm backbone; the generator {name!r} has it not: leave it out")
    known = inspect.signature(GENERATORS[name]).parameters
    taken = [key for key in known if key not in ("layout", "out_channels", "fusion", "norm")]
    check_options(options, taken, f"generator {name!r}")
    channels = sum(task.channels for task in tasks.values())
    return GENERATORS[name](StackLayout(modalities), channels, fusion=method, norm=p["norm"], **options)


def _rgb_scale(p: Options) -> Scale:
    """How a complete model normalises RGB, or would."""
    own = ((p["ranges"] if p["normalization"] == "range" else p["statistics"]) or {}).get("rgb", {})
    if "low" in own and "high" in own:
        low, high = (np.broadcast_to(np.asarray(own[key], float) / 255, 3) for key in ("low", "high"))
        mean, std = (low + high) / 2, (high - low) / 2
    elif "mean" in own and "std" in own:
        mean, std = (np.asarray(own[key], float).reshape(-1) / 255 for key in ("mean", "std"))
    else:
        return IMAGENET
    if not {mean.size, std.size} <= {1, 3}:  # of more bands than RGB
        return IMAGENET
    mean, std = (np.broadcast_to(values, 3) for values in (mean, std))
    return Scale(tuple(mean.tolist()), tuple(std.tolist()))


def _input_channels(p: Options) -> dict[str, int]:
    """How many channels the maps of modalities have, where their statistics say several.

    Raises:
        ValueError: others than 1 and 3 in a network that has no stem for them.
    """
    told = {name: options for name, options in (p["statistics"] or {}).items() if {"mean", "std"} <= options.keys()}
    spans = {name: Span.of(options) for name, options in told.items()}
    found = {name: span.channels for name, span in spans.items() if span.channels > 1}
    joined = p["fusion"] is not None and p["fusion"]["name"] == "early"
    for name in (name for name, count in found.items() if needs_stem(count)):
        if p["weights"] == "separate" or joined:
            what = "fusion='early'" if joined else "weights='separate'"
            raise ValueError(
                f"{name} has {found[name]} channels, by its statistics; {what} reads maps of 1 and 3 channels alone: "
                "use shared weights and another fusion method"
            )
    return found


def multimodal_segmentor(*, pretrained: str | None = None, **parameters: Any) -> MultimodalModel:
    """Semantic segmentation on any timm backbone by one head, ``labels``; see `segmentor_parameters`."""
    return multimodal(pretrained=pretrained, **segmentor_parameters(**parameters))


def segmentor_parameters(
    *,
    modalities: Sequence[str],
    num_classes: int,
    backbone: str = "resnet18",
    norm: str = "private",
    norm_eval: bool = False,
    weights: str = "shared",
    fusion: Options | str | None = "asymmetric",
    decoder: Options | str | None = None,
    loss: Options | str = "cross_entropy",
    statistics: Options | None = None,
    modality_dropout: Options | float | None = None,
    detach_ensemble: bool = True,
    pad_to_stride: bool = True,
    stems: Mapping[str, str] | None = None,
    objectives: Sequence[Options | str] = (),
    purification: Options | str | None = None,
    hallucinate: Options | bool = False,
    freeze: str | None = None,
    adapters: Options | int | None = None,
) -> dict[str, Any]:
    """Parameters of `multimodal` for segmentation; by default AsymFusion with the light decoder.

    Args:
        num_classes: K.
        decoder: a name (``"light"``) or ``{"name": ..., **options}``, see `rgbx.heads`.
        loss: a name or ``{"name": ..., **options}``, see `rgbx.losses.build_loss`.
        detach_ensemble: whether the ensemble's loss trains only α.
        pad_to_stride: pad images to multiples of the deepest stride.
        modalities, backbone, norm, norm_eval, weights, fusion, statistics: see `multimodal`.
        modality_dropout, stems, objectives, purification, hallucinate, freeze, adapters: see `multimodal`.
    """
    labels = dict(task="classes", num_classes=num_classes, loss=loss, decoder=decoder, detach_ensemble=detach_ensemble)
    return dict(
        modalities=modalities,
        heads=dict(labels=labels),
        backbone=backbone,
        fusion=fusion,
        norm=norm,
        norm_eval=norm_eval,
        weights=weights,
        stems=stems,
        statistics={name: values for name, values in (statistics or {}).items() if name in modalities},
        padding="zeros" if pad_to_stride else "none",
        modality_dropout=modality_dropout,
        objectives=objectives,
        purification=purification,
        hallucinate=hallucinate,
        freeze=freeze,
        adapters=adapters,
    )


def multimodal_translator(*, pretrained: str | None = None, **parameters: Any) -> MultimodalModel:
    """Translation from several maps to another by one head of the target's name; see `translator_parameters`."""
    return multimodal(pretrained=pretrained, **translator_parameters(**parameters))


def translator_parameters(
    *,
    modalities: Sequence[str],
    target: str,
    target_channels: int | None = None,
    generator: Options | str = "unet",
    fusion: Options | str | None = "asymmetric",
    discriminator: Options | str | None = "patch",
    adversarial: str = "vanilla",
    adversarial_weight: float = 1.0,
    l1: float = 100.0,
    matching: float = 0.0,
    perceptual: Options | None = None,
    ranges: Mapping[str, Options] | None = None,
    statistics: Options | None = None,
    normalization: str | None = None,
    modality_dropout: Options | float | None = None,
    objectives: Sequence[Options | str] = (),
) -> dict[str, Any]:
    """Parameters of `multimodal` for translation; by default pix2pix's U-Net with asymmetric fusion.

    Args:
        target: name of the map to translate to.
        target_channels: its channels; known for rgb, normal and hha (3), else 1 unless given.
        generator: a name or ``{"name": ..., **options}``: ``"unet"`` (options of `UNetGenerator`), ``"resnet"`` (of
            `ResNetGenerator`), or ``"backbone"``: ``backbone``, a timm model, ``norm_eval``, ``weights``, ``norm``,
            ``stems``, ``purification``, ``hallucinate``, ``freeze`` and ``adapters`` as in `multimodal`, and ``width``
            of `ImageDecoder`.
        discriminator: ``"patch"``, or a dict of options of `PatchDiscriminator`; None trains without one, by L1 alone.
        adversarial, adversarial_weight, matching: ``loss``, ``weight`` and ``matching`` of `Opponent`.
        l1, perceptual: see `Map`.
        ranges: per map its range in its own unit, see `MapRange`; also the target's.
        modalities, fusion, normalization, statistics, modality_dropout, objectives: see `multimodal`.

    Raises:
        ValueError: an unknown generator, or options that contradict each other.
    """
    if target in modalities or not modalities:
        raise ValueError(f"expected at least one source beside the target {target!r}, found {list(modalities)}")
    if discriminator is None and matching:
        raise ValueError(f"feature matching (matching={matching}) needs a discriminator, found discriminator=None")
    if unknown := sorted(set(ranges or {}) - {*modalities, target}):
        raise ValueError(f"ranges are given for {unknown}; this model has {one_of((*modalities, target), unknown[0])}")
    options = _named(generator, "generator")
    network: dict[str, Any] = {"backbone": options}
    decoder = None
    if options["name"] == "backbone":
        del options["name"]
        decoder = {"name": "image", **({"width": int(options.pop("width"))} if "width" in options else {})}
        known: tuple[str, ...] = ("backbone", "norm", "norm_eval", "weights", "stems", "purification", "hallucinate")
        known += ("freeze", "adapters")
        check_options(options, known, "generator 'backbone'")
        network = {"backbone": "resnet18", **options}
    elif options["name"] not in GENERATORS:
        raise ValueError(
            f"generator is {options['name']!r}; expected one of {one_of((*GENERATORS, 'backbone'), options['name'])}"
        )
    elif "norm" in options:
        network["norm"] = options.pop("norm")
    head = dict(
        task="map",
        channels=target_channels or (3 if target in THREE_CHANNELS else 1),
        range=(ranges or {}).get(target),
        l1=l1,
        perceptual=perceptual,
        decoder=decoder,
    )
    if discriminator is not None:
        given = {"discriminator": discriminator, "loss": adversarial, "weight": adversarial_weight}
        head["adversarial"] = {**given, "matching": matching}
    return dict(
        modalities=modalities,
        heads={target: head},
        fusion=fusion,
        normalization=normalization,
        statistics=statistics,
        ranges={name: values for name, values in (ranges or {}).items() if name != target} or None,
        modality_dropout=modality_dropout,
        objectives=objectives,
        **network,
    )


def multimodal_embedder(*, pretrained: str | None = None, **parameters: Any) -> MultimodalModel:
    """Codes in one space for search across sensors, by one head, ``codes``; see `embedder_parameters`."""
    return multimodal(pretrained=pretrained, **embedder_parameters(**parameters))


def embedder_parameters(
    *,
    modalities: Sequence[str],
    by: str = "class",
    dim: int = 64,
    backbone: str = "resnet18",
    norm: str = "private",
    norm_eval: bool = False,
    weights: str = "shared",
    hidden: int = 256,
    shared: bool | str = True,
    stages: Sequence[int] | None = None,
    contrast: float = 1.0,
    temperature: float = 0.07,
    positives: str | None = None,
    smallest: float = 0.002,
    statistics: Options | None = None,
    stems: Mapping[str, str] | None = None,
    objectives: Sequence[Options | str] = (),
) -> dict[str, Any]:
    """Parameters of `multimodal` for embeddings; by default InfoNCE on codes of regions. Nothing is exchanged.

    Args:
        by: what has a code: ``"class"``, ``"component"`` or ``"frame"``, see `rgbx.tasks.Embedding`.
        dim: length of a code.
        hidden, shared, stages: of the encoder, see `rgbx.heads.CodeEncoder`.
        contrast, temperature, positives, smallest: see `rgbx.tasks.Embedding`.
        objectives: such as ``dict(name="common_codes", num_classes=K)``, classes and the adversary of CM-GANs.
        modalities, backbone, norm, norm_eval, weights, statistics, stems: see `multimodal`.
    """
    codes = dict(
        task="embedding",
        by=by,
        dim=dim,
        contrast=contrast,
        temperature=temperature,
        positives=positives,
        smallest=smallest,
        decoder=dict(name="codes", hidden=hidden, shared=shared, stages=stages),
    )
    return dict(
        modalities=modalities,
        heads=dict(codes=codes),
        backbone=backbone,
        fusion="late",
        norm=norm,
        norm_eval=norm_eval,
        weights=weights,
        stems=stems,
        statistics={name: values for name, values in (statistics or {}).items() if name in modalities},
        objectives=objectives,
    )


def _tell_parameters(builder: Callable[..., MultimodalModel], flat: Callable[..., dict[str, Any]]) -> None:
    """Gives a builder the signature that its users, help and the check of overrides read."""
    own, signature = inspect.signature(builder).parameters["pretrained"], inspect.signature(flat)
    told = signature.replace(parameters=[*signature.parameters.values(), own], return_annotation="MultimodalModel")
    setattr(builder, "__signature__", told)  # noqa: B010 (no attribute that a type checker knows)


_tell_parameters(multimodal_segmentor, segmentor_parameters)
_tell_parameters(multimodal_translator, translator_parameters)
_tell_parameters(multimodal_embedder, embedder_parameters)
