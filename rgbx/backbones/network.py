"""What timm's networks are asked: which stages they have, how their modules hold maps, and which images they read.

Nothing is computed for it: a network is tried once on images and weights without memory, and what is found is kept by
its name.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rgbx._text import nearest
from rgbx.backbones._timm import FeatureGetterNet, StageInfo, TimmNetwork, timm

FIRST_STRIDE = 4
PYRAMID = (4, 8, 16, 32)  # strides of the maps that are made of a network of one stride
LEAST_SIDE = 128  # of the images that networks are tried on
LEAST_SHARE = 0.4  # of the locations that a map of a stride has by padding
MOST_PREFIX = 64  # class and register tokens before those of a map
ANY_SIZE = (
    {"dynamic_img_size": True, "strict_img_size": False},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
)
NOT_BY_ROWS = ("Hiera",)  # networks whose tokens are not in the order of the map inside
RENAMED = (("block.", "blocks."), ("block.", "stages."))  # names that some feature infos have, and those of the modules

Size = tuple[int, int]


class Form(NamedTuple):
    """How a module holds a stack of maps [M*N, C, h, w].

    Attributes:
        channels: C.
        stride: pixels of what the network reads to a side of a location.
        order: ``"NCHW"``, ``"NHWC"``, or ``"NLC"``: tokens, row by row, after those of no place.
        prefix: how many these are: class and register tokens.
    """

    channels: int
    stride: int
    order: str = "NCHW"
    prefix: int = 0

    def map(
        self,
        x: Tensor,  # [M*N, C, h, w], [M*N, h, w, C] or [M*N, prefix + h*w, C]
        size: Size,
    ) -> Tensor:
        """The map [M*N, C, h, w], of an image of that height and width."""
        if self.order == "NLC":
            grid = (size[0] // self.stride, size[1] // self.stride)
            return x[:, self.prefix :].transpose(1, 2).unflatten(2, grid)
        return x if self.order == "NCHW" else x.permute(0, 3, 1, 2)

    def held(
        self,
        changed: Tensor,  # [M*N, C, h, w]
        x: Tensor,  # [M*N, C, h, w], [M*N, h, w, C] or [M*N, prefix + h*w, C]
    ) -> Tensor:
        """What the module holds in place of x, [M*N, ...], where its map has changed."""
        if self.order == "NLC":
            tokens = changed.flatten(2).transpose(1, 2)
            return torch.cat([x[:, : self.prefix], tokens], 1) if self.prefix else tokens
        return changed if self.order == "NCHW" else changed.permute(0, 2, 3, 1)


class Stage(NamedTuple):
    """A stage of a network.

    Attributes:
        place: of its map among those that the network gives.
        channels: of its map.
        stride: pixels of the image to a side of a location, a power of 2.
        path: of the module that ends with it, as timm has it.
        output: how that module holds the map; None where it does not: what the network gives can be changed.
        input: how it holds what it reads, if that is a map.
    """

    place: int
    channels: int
    stride: int
    path: str
    output: Form | None
    input: Form | None


class Anatomy(NamedTuple):
    """A network in numbers.

    Attributes:
        stages: shallow to deep, at strides of 4 and more.
        actual: stride of the last stage in the network itself, such as 14 where patches are of 14 pixels.
        multiple: what the sides of images should be multiples of.
        size: the only one that the network reads, or None. Images are resized to it, and its maps to the strides.
        strict: whether sides that are no multiples are refused.
    """

    stages: tuple[Stage, ...]
    actual: int
    multiple: int
    size: Size | None
    strict: bool

    @property
    def plain(self) -> bool:
        """Whether all stages have one stride, so that a pyramid is made of the last one's map."""
        return len({stage.stride for stage in self.stages}) == 1

    def read(self, size: Size) -> Size:
        """The size at which the network sees an image of that size."""
        stride = self.stages[-1].stride
        if self.size is not None or self.actual == stride:
            return self.size or size
        return size[0] * self.actual // stride, size[1] * self.actual // stride


_ANATOMIES: dict[tuple[str, Size | None], Anatomy] = {}


def create_network(name: str, size: Size | None = None) -> tuple[TimmNetwork, Anatomy]:
    """Builds a timm network that gives features of any size of image that it can.

    Args:
        name: of a timm model.
        size: for which the network is built, of those that read one size; None for timm's.

    Raises:
        ValueError: no such model, one without features, or a size for one that has none of its own.
    """
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models()) or "; timm.list_models() has all names"
        raise ValueError(f"backbone {name!r} is no timm model{hint}")
    network = cast(TimmNetwork, _created(name, size))
    indices, infos = _chosen(network)
    if isinstance(network, FeatureGetterNet):
        setattr(network, "out_indices", indices)  # noqa: B010 (timm says a tuple or a number)
    if (name, size) not in _ANATOMIES:
        _ANATOMIES[name, size] = _Trial(name, network, infos, size).anatomy()
    return network, _ANATOMIES[name, size]


def layers_of_images(network: TimmNetwork, anatomy: Anatomy, wanted: Callable[[nn.Module], bool]) -> list[str]:
    """Paths of those layers whose first axis is the stack's, or grows with it, as that of windows does.

    Others read tables of positions, which images share. It is tried, as timm made it, with one and with two.
    """
    trial = copy.deepcopy(network).to("meta").eval()
    rows: dict[str, list[int]] = {path: [] for path, module in trial.named_modules() if wanted(module)}

    def note(
        path: str,
        _module: nn.Module,
        inputs: tuple[Tensor, ...],  # [rows, ...]
    ) -> None:
        rows[path].append(inputs[0].shape[0])

    for path in rows:
        trial.get_submodule(path).register_forward_pre_hook(partial(note, path))
    for count in (1, 2):
        side = math.ceil(LEAST_SIDE / anatomy.multiple) * anatomy.multiple
        with torch.no_grad():
            trial(torch.zeros(count, 3, *anatomy.read((side, side)), device="meta"))
    return [path for path, found in rows.items() if len(found) == 2 and found[1] == 2 * found[0]]


def inner(network: nn.Module) -> TimmNetwork:
    """The network itself, whose names are those of weight files, without a wrapper of timm's that holds it whole."""
    children = dict(network.named_children())
    found = next(iter(children.values())) if list(children) in (["model"], ["body"]) else network
    return cast(TimmNetwork, found)


def find_module(network: nn.Module, path: str) -> nn.Module | None:
    """A module by its name in timm's feature infos, which wrappers flatten (``stages_0``); None where there is none."""
    modules = {name.replace(".", "_"): module for name, module in inner(network).named_modules()}
    found = modules.get(path.replace(".", "_"))
    for theirs, ours in RENAMED:
        if found is None and path.startswith(theirs):
            found = modules.get(path.replace(theirs, ours, 1).replace(".", "_"))
    return found[-1] if isinstance(found, nn.ModuleList) else found


def _created(name: str, size: Size | None) -> nn.Module:
    config = timm.get_pretrained_cfg(name)
    built: Mapping[str, object] = {} if size is None else {"img_size": size}
    for options in (*(ANY_SIZE if config is not None and config.fixed_input_size and size is None else ()), {}):
        try:
            return timm.create_model(name, features_only=True, pretrained=False, **{**options, **built})
        except TypeError as error:  # the class does not know the option
            if not options and "img_size" in str(error) and size is not None:
                raise ValueError(f"backbone {name!r} is not built for one size; leave size out") from error
            if not options:
                raise
        except (RuntimeError, AttributeError, AssertionError) as error:
            raise ValueError(f"backbone {name!r} gives no features of its stages: {error}") from error
    raise AssertionError


def _chosen(network: TimmNetwork) -> tuple[list[int], list[StageInfo]]:
    """Indices and infos of the features that are asked for: of blocks of one stride, the ends of four quarters."""
    infos = network.feature_info.get_dicts()
    if not isinstance(network, FeatureGetterNet):
        return list(range(len(infos))), infos
    every = cast(list[StageInfo], network.model.feature_info)
    strides = [info["reduction"] for info in every]
    if len(set(strides)) == 1:
        quarters = (math.ceil(len(every) * i / 4) - 1 for i in range(1, 5))
        indices = sorted(set(quarters))
    else:
        indices = [len(strides) - 1 - strides[::-1].index(stride) for stride in dict.fromkeys(strides)]
    return indices, [every[i] for i in indices]


class _NormsLeftOut(TorchFunctionMode):
    """A context in which batch norms give what they read: without values, torch would bring its compiler for them."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Collection[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        return args[0] if func is F.batch_norm and args else func(*args, **(kwargs or {}))


class _Trial:
    """Calls of a copy of the network without memory, and what its modules hold in them."""

    def __init__(self, name: str, network: TimmNetwork, infos: Sequence[StageInfo], built: Size | None) -> None:
        self.name, self.infos, self.built = name, infos, built
        self.network = copy.deepcopy(network).to("meta").eval()  # some keep tensors of a call
        self.stages = [i for i, info in enumerate(infos) if info["reduction"] >= FIRST_STRIDE]
        self.modules = [find_module(self.network, infos[i]["module"]) for i in self.stages]
        self.strides = [2 ** math.ceil(math.log2(infos[i]["reduction"]) - 0.2) for i in self.stages]

    def anatomy(self) -> Anatomy:
        """The network in numbers.

        Raises:
            ValueError: no stages at strides of 4 and more.
        """
        if not self.stages:
            raise ValueError(f"backbone {self.name!r} gives no maps at a stride of {FIRST_STRIDE} or more")
        actual, deepest = self.infos[self.stages[-1]]["reduction"], self.strides[-1]
        plain = len(set(self.strides)) == 1
        least = max(deepest, PYRAMID[-1]) if plain else deepest
        config = self.network.pretrained_cfg or {}
        native = self.built or cast(Size, tuple(config.get("input_size", (3, 224, 224))[-2:]))
        for multiple in () if self.built else dict.fromkeys((least, math.lcm(least, native[0]))):
            first = math.ceil(LEAST_SIDE / multiple) * multiple
            size = (first * actual // deepest, (first + multiple) * actual // deepest)
            if (stages := self._tried(size)) is not None:
                strict = plain or actual != deepest or multiple != deepest
                return Anatomy(stages, actual, multiple, None, strict)
        stages = self._tried(native)
        if stages is None:  # it does something that needs values: it is taken as timm describes it
            stages = tuple(self._stage(n, None, None, native) for n in range(len(self.stages)))
            return Anatomy(stages, deepest, least, None, False)
        return Anatomy(stages, deepest, least, native, False)

    def _tried(self, size: Size) -> tuple[Stage, ...] | None:
        """The stages, as an image of that size shows them; None where the network does not read it."""
        held: dict[int, list[tuple[object, object]]] = {n: [] for n in range(len(self.stages))}

        def note(
            n: int,
            _module: nn.Module,
            inputs: tuple[object, ...],
            output: object,
        ) -> None:
            held[n].append((inputs[0] if inputs else None, output))

        hooks = [m.register_forward_hook(partial(note, n)) for n, m in enumerate(self.modules) if m is not None]
        try:
            with torch.no_grad(), _NormsLeftOut():
                maps = self.network(torch.zeros(1, 3, *size, device="meta"))
        except Exception:  # whatever a network says of sizes that it does not read
            return None
        finally:
            for hook in hooks:
                hook.remove()
        if not all(self._is_of(maps[i], size, self.infos[i]["reduction"]) for i in self.stages):
            return None
        found = []
        for n in range(len(self.stages)):
            read, given = held[n][0] if len(held[n]) == 1 else (None, None)
            found.append(self._stage(n, read, given, size))
        return tuple(found)

    def _is_of(
        self,
        x: Tensor,  # [1, C, h, w] or [1, h, w, C]
        size: Size,
        stride: int,
    ) -> bool:
        """Whether a map is about of that stride: convolutions without padding make it smaller."""
        last = str(getattr(self.network, "output_fmt", "NCHW")).endswith("NHWC")
        grid = x.shape[1:3] if last else x.shape[2:]
        return all(
            LEAST_SHARE < side * stride / whole < 2 - LEAST_SHARE for side, whole in zip(grid, size, strict=True)
        )

    def _stage(self, n: int, read: object, given: object, size: Size) -> Stage:
        info = self.infos[self.stages[n]]
        output = None
        if type(inner(self.network)).__name__ not in NOT_BY_ROWS:
            output = self._form(first_of(given), size, [info["reduction"]], info["num_chs"])
        strides = sorted({each["reduction"] for each in self.infos} | {1, 2, 4})
        usual = output or Form(0, 0)
        source = None if output is None else self._form(first_of(read), size, strides, None, usual)
        return Stage(self.stages[n], info["num_chs"], self.strides[n], info["module"], output, source)

    def _form(
        self,
        x: object,
        size: Size,
        strides: Sequence[int],
        channels: int | None,
        usual: Form | None = None,
    ) -> Form | None:
        """How x holds a map of one of the strides, with that many channels; one as `usual` where sizes do not tell."""
        if not isinstance(x, Tensor):
            return None
        shape = tuple(x.shape[1:])
        for stride in strides:
            grid = (size[0] // stride, size[1] // stride)
            if len(shape) == 3 and shape[1:] == grid and channels in (None, shape[0]):
                return Form(shape[0], stride)
            if len(shape) == 3 and shape[:2] == grid and channels in (None, shape[2]):
                return Form(shape[2], stride, "NHWC")
            prefix = shape[0] - grid[0] * grid[1] if len(shape) == 2 else -1
            known = usual.prefix if usual is not None else prefix
            if 0 <= prefix <= MOST_PREFIX and prefix in (known, 0) and channels in (None, shape[1]):
                return Form(shape[1], stride, "NLC", prefix)
        if len(shape) == 3 and (
            channels is None or shape[0] == channels
        ):  # padding makes it a little larger or smaller
            last = usual is not None and usual.order == "NHWC"
            return Form(shape[2 if last else 0], size[0] // shape[0 if last else 1], "NHWC" if last else "NCHW")
        return None


def first_of(x: object) -> object:
    """What a module gives, or the first of several things."""
    return x[0] if isinstance(x, (tuple, list)) and x else x
