"""Optimizer wrappers: learning-rate groups, mixed precision and exact gradient accumulation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn

from rgbx._types import Options
from rgbx.models.precision import DTYPES, computes_in_bfloat16, warn_of_emulation
from rgbx.train.distributed import unwrap

ADDED = ("backbone.purification.", "backbone.hallucination.")  # to a network that may be pretrained


class AutocastOptimWrapper(OptimWrapper):
    """Optimizer steps with optional autocast, on the CPU as well as on CUDA.

    Differs from mmengine's AmpOptimWrapper, which refuses the CPU, and from its accumulation:
    here the windows of `accumulative_counts` batches restart at every epoch (the last window of an
    epoch may be shorter and is averaged over its own length), so no gradient is pending at an
    epoch boundary and a resumed run repeats the uninterrupted one.

    Args:
        optimizer: built by the constructor.
        dtype: None for full precision, "bfloat16", "float16" (CUDA only, with loss scaling), or "auto":
            bfloat16 where the device computes in it, else full precision.
        loss_scale: the first loss scale of float16.
        accumulative_counts: batches per optimizer step.
        clip_grad: arguments of `torch.nn.utils.clip_grad_norm_`, e.g. dict(max_norm=1.0).

    Raises:
        ValueError: an unknown dtype, or float16 for a model on the CPU.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        dtype: str | None = None,
        loss_scale: float = 2.0**16,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
    ) -> None:
        if dtype is not None and dtype != "auto" and dtype not in DTYPES:
            raise ValueError(f"dtype must be None, 'auto', 'bfloat16' or 'float16', found {dtype!r}")
        super().__init__(optimizer, accumulative_counts, clip_grad and dict(clip_grad))
        device = optimizer.param_groups[0]["params"][0].device.type
        if dtype == "auto":
            dtype = "bfloat16" if computes_in_bfloat16(device) else None
        else:
            warn_of_emulation(dtype, device)
        if dtype == "float16" and device != "cuda":
            raise ValueError(f"dtype='float16' needs a CUDA device, the model is on {device}: use dtype='bfloat16'")
        self.dtype = DTYPES[dtype] if dtype else None
        self.scaler = torch.amp.GradScaler(device, init_scale=loss_scale, enabled=dtype == "float16")
        self.epoch_length: int | None = None
        # schedules count batches, also those before the first step, which may be left out
        warnings.filterwarnings("ignore", "Detected call of `scheduler.step", module="mmengine")

    def set_epoch_length(self, batches: int) -> None:
        """Tells how many batches an epoch has; without it accumulation never restarts."""
        self.epoch_length = batches

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Starts counting batches at `init_counts`, the iteration that training (re)starts from."""
        self._inner_count = init_counts
        self._max_counts = max_counts

    def _window(self, count: int) -> tuple[int, int]:
        """Batches into the current accumulation window at batch number `count`, and its length."""
        if self.epoch_length is None:
            return count % self._accumulative_counts, self._accumulative_counts
        position = count % self.epoch_length
        start = position - position % self._accumulative_counts
        return position - start, min(self._accumulative_counts, self.epoch_length - start)

    def should_sync(self) -> bool:
        """Whether the batch about to be backpropagated is the last of its window."""
        position, length = self._window(self._inner_count)
        return position == length - 1

    def should_update(self) -> bool:
        """Whether the batch just backpropagated was the last of its window."""
        position, length = self._window(self._inner_count - 1)
        return position == length - 1

    def scale_loss(
        self,
        loss: Tensor,  # []
    ) -> Tensor:
        return loss / self._window(self._inner_count)[1]

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no gradient synchronisation inside an accumulation window."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, self.dtype, enabled=self.dtype is not None):
            yield

    def backward(
        self,
        loss: Tensor,  # []
        **kwargs: Any,
    ) -> None:
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()

    def _clip_grad(self) -> None:
        """Clips gradients; the norm of those that overflow, which the scaler leaves out, is not logged."""
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = self.clip_func(parameters, **self.clip_grad_kwargs)
        if norm is not None and math.isfinite(norm):
            self.message_hub.update_scalar(f"train/{self.grad_name}", float(norm))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        scaler = state.pop("scaler", None)
        if scaler:  # empty where the saved run did not scale
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state)


def has_pending_gradients(wrapper: OptimWrapper | OptimWrapperDict) -> bool:
    """Whether gradients of batches are accumulated that no update has taken yet."""
    if isinstance(wrapper, OptimWrapperDict):
        return any(has_pending_gradients(part) for part in wrapper.values())
    return not wrapper.should_update()


def is_of_opponent(name: str) -> bool:
    """Whether a parameter, by its name in the model, is of a network that is trained against the rest."""
    return ".opponent." in name


class PartsConstructor:
    """What constructors that treat parts of a model differently begin with: a config's optimizer, wrapper and options.

    Args:
        optim_wrapper_cfg: the config's `optim_wrapper`; its `optimizer` is that of every part.
        paramwise_cfg: values of the class's `OPTIONS`.

    Raises:
        ValueError: unknown options.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, optim_wrapper_cfg: Options, paramwise_cfg: dict[str, float] | None = None) -> None:
        self.options = dict(paramwise_cfg or {})
        unknown = sorted(set(self.options) - set(self.OPTIONS))
        if unknown:
            raise ValueError(f"paramwise_cfg has unknown options {unknown}; known are {', '.join(self.OPTIONS)}")
        self.wrapper = dict(optim_wrapper_cfg)
        self.optimizer = dict(self.wrapper.pop("optimizer"))
        self.wrapper.setdefault("type", AutocastOptimWrapper)

    def build(self, groups: Sequence[Options]) -> OptimWrapper:
        """The config's wrapper around its optimizer, for these groups of parameters."""
        optimizer = OPTIMIZERS.build({**self.optimizer, "params": [dict(group) for group in groups]})
        return OPTIM_WRAPPERS.build({**self.wrapper, "optimizer": optimizer})

    def opponent_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """What lies under `.opponent.`, the discriminators, see `groups_of`; none where a model has none."""
        found = [p for name, p in model.named_parameters() if p.requires_grad and is_of_opponent(name)]
        return self.groups_of("discriminator", found) if found else []

    def groups_of(self, part: str, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
        """Those with and without weight decay, at the learning rate of the option `PART_lr` or else the optimizer's.

        Raises:
            ValueError: no learning rate.
        """
        rate = self.options.get(f"{part}_lr", self.optimizer.get("lr"))
        if rate is None:
            raise ValueError(f"the optimizer's config has no lr; give it, or {part}_lr")
        others = {"name": f"{part}_no_decay", "lr": rate, "weight_decay": 0.0}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1], "name": part, "lr": rate},
            {"params": [p for p in parameters if p.ndim <= 1], **others},
        ]
        return [group for group in groups if group["params"]]


class EncoderDecoderConstructor(PartsConstructor):
    """Builds the optimizer with separate learning rates for the encoder and the rest.

    `model.backbone` is the encoder, but for its gates, which no pretrained weights have. Norms, biases and
    the ensemble's `alpha`, that is every parameter of fewer than two axes, get no weight decay. Options, in
    the config's `paramwise_cfg`: `encoder_lr` and `decoder_lr` (absolute), or `encoder_lr_mult` and
    `decoder_lr_mult` (factors on the optimizer's `lr`). Discriminators, such as an objective's, have an
    optimizer of their own at the rate `discriminator_lr`, or else the optimizer's `lr`.

    Raises:
        ValueError: unknown options, both forms for one part, or no trainable parameter.
    """

    OPTIONS = ("encoder_lr", "decoder_lr", "encoder_lr_mult", "decoder_lr_mult", "discriminator_lr")

    def __call__(self, model: nn.Module) -> OptimWrapper | OptimWrapperDict:
        network = unwrap(model)
        own, opponents = self.build(self.parameter_groups(network)), self.opponent_groups(network)
        return OptimWrapperDict(generator=own, discriminator=self.build(opponents)) if opponents else own

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """At most four groups: encoder and decoder, each with and without weight decay."""
        groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not is_of_opponent(name):
                pretrained = name.startswith("backbone.") and not name.startswith(ADDED)
                part = "encoder" if pretrained else "decoder"
                groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
        if not groups:
            raise ValueError("the model has no parameter that requires a gradient")
        built = []
        for (part, decayed), parameters in sorted(groups.items(), reverse=True):
            group = {
                "params": parameters,
                "name": f"{part}{'' if decayed else '_no_decay'}",
                "lr": self._learning_rate(part),
            }
            built.append(group if decayed else {**group, "weight_decay": 0.0})
        return built

    def _learning_rate(self, part: str) -> float:
        absolute, factor = self.options.get(f"{part}_lr"), self.options.get(f"{part}_lr_mult")
        if absolute is not None and factor is not None:
            raise ValueError(f"give {part}_lr or {part}_lr_mult, not both")
        if absolute is None and "lr" not in self.optimizer:
            raise ValueError(f"the optimizer's config has no lr; give it, or {part}_lr")
        if absolute is not None:
            return absolute
        return self.optimizer["lr"] * (1.0 if factor is None else factor)
