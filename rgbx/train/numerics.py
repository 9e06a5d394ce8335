"""Steps that are not finite: met before they change a weight, told by name, and left out where that is asked for.

A step is one update: of all batches that gradients are accumulated over. In several processes all of them decide alike
at its end, by one number that they share; gradients are shared by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from rgbx._runs import find_intact
from rgbx._text import one_of
from rgbx._types import Options, State
from rgbx.layers import recount_subsets
from rgbx.train.distributed import unwrap
from rgbx.train.optim import is_of_opponent

POLICIES, LIMIT = ("stop", "skip"), 10
SKIPPED = "skipped_steps"  # in the message hub: how many steps of the run were left out
LEAST_SCALE = 2.0**-14  # float16's smallest normal number, below which gradients of any size would vanish
MOST_NAMED = 3, 8  # tensors, samples


class NonFiniteError(ValueError):
    """A step of training that is not finite, and that is not left out."""


class Finding(NamedTuple):
    """What a process found in a step.

    Attributes:
        what: is not finite, in words.
        samples: ids of the batches in which it was found.
        final: whether no later step can be better.
        alone: whether it is the gradients alone, which others' losses may have made so.
    """

    what: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    final: bool = False
    alone: bool = False


class FiniteGuard(Hook):
    """Asks of every step whether losses, running statistics and gradients are finite, and of what is saved as well.

    A gradient counts as finite where its norm is: that of larger ones would make an optimizer's moments infinite, or
    all gradients 0 where they are clipped. Gradients of float16 that overflow are left to the loss scale, which the
    optimizer's wrapper halves then, until it comes to nothing.

    Args:
        policy: "stop" ends the training with an error. "skip" leaves the update out, sets the model's buffers back to
            what they were before the step, and tells a warning; of two optimizers that of the pass and of the one
            after it, and where the first has stepped already only the second one's own buffers are set back.
        limit: how many steps of a run may be left out; the next one ends it.

    Raises:
        ValueError: another policy or limit.
    """

    priority = "LOW"  # after averages of the weights, before checkpoints

    def __init__(self, policy: str = "stop", limit: int = LIMIT) -> None:
        if policy not in POLICIES:
            raise ValueError(f"on_nonfinite has policy={policy!r}; expected one of {one_of(POLICIES, policy)}")
        if type(limit) is not int or limit < 0:
            raise ValueError(f"on_nonfinite has limit={limit!r}; expected a whole number of at least 0")
        self.policy, self.limit = policy, limit
        self._runner: Any = None
        self._buffers: dict[str, Tensor] = {}
        self._network = nn.Module()
        self._statistics: dict[str, Tensor] = {}
        self._saved: dict[str, Tensor] = {}
        self._constant: frozenset[str] | None = None  # buffers that are infinite on purpose; None before training
        self._findings: dict[str, Finding] = {}
        self._samples: tuple[str, ...] = ()
        self._over, self._left_out = True, False

    def before_train(self, runner: Runner) -> None:
        """Learns which buffers there are: those that checkpoints hold, as others are constant.

        Statistics are of the weights' type, so that a GPU computes all their norms at once.
        """
        network, self._runner = unwrap(runner.model), runner
        dtype = next(network.parameters()).dtype
        kept = network.state_dict().keys()
        self._buffers = {name: buffer for name, buffer in network.named_buffers() if name in kept}
        self._network = network
        self._constant = frozenset(_infinite(self._buffers))
        self._statistics = {
            name: buffer
            for name, buffer in self._buffers.items()
            if buffer.dtype == dtype and name not in self._constant
        }
        self._saved, self._over = {}, True

    def begin(self, sample_ids: Sequence[str] | None) -> None:
        """To be called before each batch.

        Args:
            sample_ids: of the batch, where it has any.
        """
        if self._over:
            self._findings, self._over, self._left_out = {}, False, False
            if self.policy == "skip":
                self._save()
        self._samples = tuple(map(str, sample_ids or ()))

    @torch.no_grad()
    def sound(
        self,
        wrapper: OptimWrapper,
        losses: Mapping[str, Tensor],  # [] each
        part: str = "",
    ) -> bool:
        """Whether all is finite so far; to be called after the backward pass of each batch, before an update.

        Args:
            wrapper: of the optimizer that is to update.
            losses: of the batch, by name.
            part: what of the model it updates, where there are several: "discriminator", the second one, or "".

        Raises:
            NonFiniteError: the step is over, not finite, and not to be left out.
        """
        self._over = wrapper.should_update()
        here = ~torch.stack([*losses.values(), *self._numbers(wrapper)]).isfinite().all()
        if not self._over:
            if bool(here):
                self._note(part, wrapper, losses)
                self._restore(part)
            return part not in self._findings
        anywhere = (here | (part in self._findings)).float()
        all_reduce(anywhere, op="max")
        mine, everyones = torch.stack([here.float(), anywhere]).tolist()
        if mine:
            self._note(part, wrapper, losses)
        found = all_gather_object(self._findings.get(part, Finding())) if everyones else []
        if self._left_out or any(finding.what for finding in found):
            self._refuse(part, wrapper, found)
            return False
        return True

    def after_train_epoch(self, runner: Runner) -> None:
        """See `check_weights`."""
        self.check_weights(runner)

    def check_weights(self, runner: Runner) -> None:
        """Refuses to go on with weights that the last update made infinite; to be called by all processes alike.

        Raises:
            NonFiniteError: see `before_save_checkpoint`.
        """
        self._check_kept(runner, runner.epoch + 1, unwrap(runner.model).state_dict())

    def before_save_checkpoint(self, runner: Runner, checkpoint: State) -> None:
        """Refuses to save such weights.

        Raises:
            NonFiniteError: weights, running statistics or their averages that are not finite.
        """
        for key in ("state_dict", "ema_state_dict"):
            self._check_kept(runner, checkpoint["meta"]["epoch"], checkpoint.get(key, {}))

    def _check_kept(self, runner: Runner, epoch: int, tensors: State) -> None:
        if self._constant is None:
            return
        found = _infinite(tensors)
        bad = [name for name in found if name.removeprefix("module.") not in self._constant]
        if bad:
            raise NonFiniteError(
                f"training has diverged: by the last updates of epoch {epoch}, {_listed(bad)} of the model are not "
                f"finite. They are not saved; {_newest(runner)}. {self._advice((), final=True)}"
            )

    def _numbers(self, wrapper: OptimWrapper) -> list[Tensor]:
        """Scalars that are finite where statistics and, at the end of a step, gradients are, [] each."""
        numbers = _norms(self._statistics.values())
        if not self._over:
            return numbers
        scaler = _scaler(wrapper)
        if scaler is None:
            return numbers + _norms(p.grad for p in _parameters(wrapper) if p.grad is not None)
        scale = scaler.scale(torch.ones((), device=_parameters(wrapper)[0].device))
        return [*numbers, torch.where(scale > LEAST_SCALE, scale, torch.nan)]

    def _note(
        self,
        part: str,
        wrapper: OptimWrapper,
        losses: Mapping[str, Tensor],  # [] each
    ) -> None:
        """Keeps what is not finite, by name."""
        network = unwrap(self._runner.model)
        parameters = dict(network.named_parameters())
        weights = _infinite(parameters)
        what = [f"since an earlier update {_listed(weights)} of the weights"] if weights else []
        values = {name: float(loss) for name, loss in losses.items() if not bool(loss.isfinite())}
        what += [f"{name} ({value})" for name, value in values.items() if name != "loss" or len(values) == 1]
        if statistics := _infinite(self._statistics):
            what.append(f"the running statistics {_listed(statistics)}")
        scaler, final = _scaler(wrapper), bool(weights)
        if scaler is not None and self._over and scaler.get_scale() <= LEAST_SCALE:
            what.append(f"gradients at any loss scale, which has come down to {scaler.get_scale():.3g}")
            final = True
        alone = not what and self._over and scaler is None and part not in self._findings
        if alone:
            of_part = {id(p) for p in _parameters(wrapper)}
            gradients = {n: p.grad for n, p in parameters.items() if id(p) in of_part and p.grad is not None}
            what = [f"the gradient of {_listed(bad)}"] if (bad := _infinite(gradients)) else []
        if what:
            before = self._findings.get(part, Finding())
            named = before.what + tuple(f"{part}'s {each}" if part else each for each in what)
            self._findings[part] = Finding(named, before.samples + self._samples, before.final or final, alone)

    def _refuse(self, part: str, wrapper: OptimWrapper, found: Sequence[Finding]) -> None:
        """Counts a step that is left out, once, or ends the training.

        Raises:
            NonFiniteError: the training ends.
        """
        if self._left_out:  # by the pass before
            self._restore("")
            return
        runner = self._runner
        found = [finding for finding in found if not finding.alone] or found
        what = dict.fromkeys(each for finding in found for each in finding.what)
        samples = dict.fromkeys(each for finding in found for each in finding.samples)
        told = f"not finite in {_place(runner)}: {'; '.join(what)}; {_samples(list(samples))}{_rates(wrapper)}"
        count, final = int(runner.message_hub.get_info(SKIPPED, 0)) + 1, any(finding.final for finding in found)
        if self.policy == "stop" or final or count > self.limit:
            before = f", {count - 1} steps were left out before" if count > 1 else ""
            raise NonFiniteError(
                f"training has diverged, {told}. The update was not made{before}; {_newest(runner)}. "
                f"{self._advice((wrapper,), final)}"
            )
        runner.message_hub.update_info(SKIPPED, count)
        self._left_out = True
        self._restore(part)
        runner.logger.warning(
            f"A step is left out, {told}. It is number {count} of at most {self.limit}, and changes neither weights "
            "nor running statistics; what of its losses is not finite is not logged."
        )

    def _save(self) -> None:
        if not self._saved:
            self._saved = {name: buffer.clone() for name, buffer in self._buffers.items()}
        elif self._buffers:
            torch._foreach_copy_(list(self._saved.values()), list(self._buffers.values()))

    def _restore(self, part: str) -> None:
        for name, saved in self._saved.items():
            if not part or is_of_opponent(name):
                self._buffers[name].copy_(saved)
        recount_subsets(self._network.modules())

    def _advice(self, wrappers: Sequence[OptimWrapper], final: bool) -> str:
        """What may help, of the settings that are not there yet."""
        ways = ["a lower learning rate (optim_wrapper.optimizer.lr)"]
        if not any(wrapper.clip_grad_kwargs for wrapper in wrappers):
            ways.append("clipped gradients (optim_wrapper.clip_grad=dict(max_norm=1.0))")
        narrow = {getattr(wrapper, "dtype", None) for wrapper in wrappers} - {None, torch.float32}
        if torch.float16 in narrow:
            ways.append("optim_wrapper.dtype='bfloat16' or None")
        elif narrow:
            ways.append("optim_wrapper.dtype=None")
        if self.policy == "stop" and not final:
            ways.append("on_nonfinite='skip', which leaves such steps out")
        return f"What may help: {', '.join(ways)}"


class Average(ExponentialMovingAverage):
    """mmengine's average of weights, which leaves alone what is infinite from the start, such as where maps end.

    Of infinity and infinity its mean is NaN.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        for name in _infinite(self.avg_parameters):
            del self.avg_parameters[name]


def build_guard(given: str | Options) -> FiniteGuard:
    """What a config's `on_nonfinite` says: a policy, or ``dict(policy="skip", limit=10)``.

    Raises:
        ValueError: something else.
    """
    options = dict(given) if isinstance(given, Mapping) else {"policy": given}
    if unknown := sorted(options.keys() - {"policy", "limit"}):
        raise ValueError(f"on_nonfinite has no {unknown[0]!r}; it has policy and limit")
    return FiniteGuard(**options)


def _norms(
    tensors: Iterable[Tensor],  # [...] each
) -> list[Tensor]:
    """The norm of each, []: all of them are computed in one go."""
    given = list(tensors)
    return list(torch._foreach_norm(given)) if given else []


def _infinite(tensors: State) -> list[str]:
    """Names of the tensors whose norm is not finite."""
    floating = {name: x.detach() for name, x in tensors.items() if isinstance(x, Tensor) and x.is_floating_point()}
    norms = _norms(floating.values())
    if not norms or bool(torch.stack(norms).isfinite().all()):
        return []
    return [name for name, norm in zip(floating, norms, strict=True) if not bool(norm.isfinite())]


def _parameters(wrapper: OptimWrapper) -> list[nn.Parameter]:
    return [parameter for group in wrapper.param_groups for parameter in group["params"]]


def _scaler(wrapper: OptimWrapper) -> torch.amp.GradScaler | None:
    """What scales the losses of a wrapper, where anything does."""
    scaler = getattr(wrapper, "scaler", getattr(wrapper, "loss_scaler", None))
    return scaler if isinstance(scaler, torch.amp.GradScaler) and scaler.is_enabled() else None


def _place(runner: Runner) -> str:
    """Epoch and iteration of the batch that is trained on, as logs count them."""
    length = runner.max_iters // runner.max_epochs
    return f"epoch {runner.epoch + 1}, iteration {runner.iter - runner.epoch * length + 1} of {length}"


def _newest(runner: Runner) -> str:
    try:
        found = find_intact(runner.work_dir)
    except (ValueError, OSError):
        return "no checkpoint from before is intact"
    return f"{found}, from before, is the newest checkpoint" if found else "there is no checkpoint yet"


def _rates(wrapper: OptimWrapper) -> str:
    """The learning rates of an optimizer, each with the first part of the model that has it."""
    rates: dict[float, str] = {}
    for group in wrapper.param_groups:
        rates.setdefault(float(group["lr"]), str(group.get("name", "")).removesuffix("_no_decay"))
    if len(rates) == 1:
        return f"; learning rate {next(iter(rates)):.3g}"
    return f"; learning rates {', '.join(f'{rate:.3g} {name}'.strip() for rate, name in rates.items())}"


def _samples(names: Sequence[str]) -> str:
    if not names:
        return "samples without an id"
    return f"sample{'s' * (len(names) > 1)} {_listed([repr(name[:80]) for name in names], MOST_NAMED[1])}"


def _listed(names: Sequence[str], most: int = MOST_NAMED[0]) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
