"""A step of training, and the loops that make and score them, for models that are plain torch modules."""

from __future__ import annotations

import functools
import time
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import METRICS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rgbx._processes import together
from rgbx._protocol import Protocol
from rgbx._types import Batch, Options
from rgbx.evaluate.metric import Metrics, metrics_of
from rgbx.evaluate.pictures import PictureObserver
from rgbx.evaluate.session import Session
from rgbx.models import MultimodalModel
from rgbx.models.precision import autocast_dtype
from rgbx.train.distributed import SharedLosses, unwrap
from rgbx.train.numerics import FiniteGuard

MUCH_WAITING = 0.2  # share of an epoch


class TrainLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, which may begin inside one; its steps ask nothing of a model but its losses."""

    @functools.cached_property
    def shared(self) -> SharedLosses:
        """What the processes tell each other of their losses."""
        return SharedLosses(next(unwrap(self.runner.model).parameters()).device)

    def run_epoch(self) -> None:
        """One epoch, or what an interruption left of it."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        done = self.runner.enter_epoch()
        batches = Waited(self.dataloader)
        for index, batch in enumerate(batches, start=done):
            self.run_iter(index, batch)
        self.runner.logger.info(f"Epoch {self._epoch + 1}: {batches}.")
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Batch) -> None:
        """One batch; hooks see the losses, of several processes their means, as `outputs`."""
        self.runner.call_hook("before_train_iter", batch_idx=idx, data_batch=data_batch)
        unwrap(self.runner.model).set_progress(self._iter / self._max_iters)
        with together():
            outputs = training_step(self.runner.model, data_batch, self.runner.optim_wrapper, self.runner.guard)
        outputs = self.shared.means(outputs)
        self.runner.call_hook("after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1


class Waited:
    """Batches of a loader, and for how much of the time that they are asked for they were waited for.

    Meanwhile the device has nothing to do; where a step returns before a GPU has finished it, that is more than it
    idles.
    """

    def __init__(self, loader: Iterable[Batch]) -> None:
        self.loader = loader
        self.seconds = self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        start = asked = time.perf_counter()
        for batch in self.loader:
            self.waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()
            self.seconds = asked - start

    def __str__(self) -> str:
        share = self.waited / self.seconds if self.seconds else 0.0
        hint = "; more num_workers, or frames that are kept, would make it shorter" if share > MUCH_WAITING else ""
        return f"{self.seconds:.1f} s, {share:.1%} of it waiting for data{hint}"


def training_step(
    model: nn.Module,
    data: Batch,
    optim_wrapper: OptimWrapper | OptimWrapperDict,
    guard: FiniteGuard | None = None,
) -> dict[str, Tensor]:
    """Updates a model by one batch.

    A model that alternates is updated in two passes: its generator, through opponents that are left as they are, then
    its opponents, which see what the first pass made.

    Args:
        model: a model of `rgbx.models`, or the distributed wrapper around one, through which all passes go.
        data: a collated batch.
        optim_wrapper: of the whole model, or by part: ``generator`` and ``discriminator``.
        guard: what is asked before an update whether all is finite; None updates in any case.

    Returns:
        What is logged: ``loss``, which is the sum of the others, each loss, and ``discriminator`` where there is one;
        of a step that the guard leaves out, those that are finite.

    Raises:
        ValueError: one optimizer for a model that alternates, or what the guard refuses.
    """
    network = unwrap(model)
    batch = network.data_preprocessor(data, training=True)
    if guard is not None:
        guard.begin(batch["sample_id"])
    wrapper = optim_wrapper["generator"] if isinstance(optim_wrapper, OptimWrapperDict) else optim_wrapper
    if not network.alternates:
        with wrapper.optim_context(model):
            losses = model(**batch, mode="loss")
        return _update(wrapper, losses, guard)
    if not isinstance(optim_wrapper, OptimWrapperDict):
        raise ValueError(
            "a discriminator needs an optimizer of its own: optim_wrapper=dict(constructor=AdversarialConstructor, ...)"
        )
    opponents = [p for opponent in network.opponents for p in opponent.parameters()]
    with wrapper.optim_context(model), frozen(opponents):
        losses, shown = model(**batch, mode="generator")
    logged = _update(wrapper, losses, guard)
    wrapper, known = optim_wrapper["discriminator"], set(map(id, opponents))
    with wrapper.optim_context(model), frozen(p for p in network.parameters() if id(p) not in known):
        losses = model(**batch, shown=shown, mode="discriminator")
    told = _update(wrapper, losses, guard, "discriminator").get("loss")
    return logged if told is None else logged | {"discriminator": told.detach()}


def still_step(model: MultimodalModel, data: Batch, options: Options) -> Callable[[], object]:
    """A `training_step` that can be made again and again, to see what it takes: no weight changes by it.

    It sees all modalities, so that none is quicker by the luck of modality dropout's draw.

    Args:
        model: is put into training mode, without modality dropout.
        data: a collated batch.
        options: what a config says of `optim_wrapper`.
    """
    model.train().modality_dropout = None
    wrapper = build_optim_wrapper(model, dict(options))
    for part in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else (wrapper,):
        for group in part.optimizer.param_groups:
            group["lr"] = 0.0
    return functools.partial(training_step, model, data, wrapper)


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """No gradients for the parameters; they still flow through their modules to the inputs."""
    trained = [p for p in parameters if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _update(
    wrapper: OptimWrapper,
    losses: Mapping[str, Tensor],  # [] each
    guard: FiniteGuard | None,
    part: str = "",
) -> dict[str, Tensor]:
    """A step on the sum of the losses, as `OptimWrapper.update_params` makes it, where the guard finds it sound."""
    total = typing.cast(Tensor, sum(losses.values()))
    found = {"loss": total, **losses}
    wrapper.backward(wrapper.scale_loss(total))
    sound = guard is None or guard.sound(wrapper, found, part)
    if wrapper.should_update():
        if sound:
            wrapper.step()
        wrapper.zero_grad()
    return found if sound else {name: loss for name, loss in found.items() if bool(loss.isfinite())}


class ValidationLoop(BaseLoop):
    """Scores the model by the rules of a protocol; hooks see its batches as those of any mmengine loop.

    Args:
        runner, dataloader: as in mmengine.
        evaluator: what is counted, a `Metrics` or its config.
        protocol: a name of `rgbx.models.PROTOCOLS`, or a `Protocol`.
        dtype: of autocast, see `autocast_dtype`.
        pictures: how many samples are drawn to ``pictures/epoch_N.png`` of the work directory.
        pictures_interval: validations from one such picture to the next.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader[Batch] | Options,
        evaluator: Metrics | Options,
        *,
        protocol: str | Protocol = "rgbx",
        dtype: str | None = None,
        pictures: int = 0,
        pictures_interval: int = 1,
    ) -> None:
        super().__init__(runner, dataloader)
        self.pictures, self.pictures_interval, self._runs = pictures, pictures_interval, 0
        network = unwrap(runner.model)
        self.session = Session(
            network,
            self.dataloader,
            protocol=protocol,
            dtype=autocast_dtype(dtype, next(network.parameters()).device.type),
            metrics=build_metrics(evaluator),
            watch=self._watched,
        )

    def run(self) -> dict[str, float]:
        """Validates once."""
        self.runner.call_hook("before_val")
        self.runner.call_hook("before_val_epoch")
        self._runs += 1
        grid = []
        if self.pictures and self._runs % self.pictures_interval == 0:
            grid = [PictureObserver(self.session.model, self.session.dataset.metainfo, count=self.pictures)]
        metrics = metrics_of(self.session.evaluate(observers=grid))
        last = not 0 < self.runner.epoch < self.runner.max_epochs  # before, the line of scores is enough
        for head, table in self.session.reports().items() if self.session.metrics.table and last else ():
            self.runner.logger.info(f"{head}: {table}" if len(self.session.counters) > 1 else table)
        for observer in grid if is_main_process() else ():
            observer.draw_grid(Path(self.runner.work_dir, "pictures", f"epoch_{self.runner.epoch}.png"))
        self.runner.call_hook("after_val_epoch", metrics=metrics)
        self.runner.call_hook("after_val")
        return metrics

    def _watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for index, batch in enumerate(batches):
            self.runner.call_hook("before_val_iter", batch_idx=index, data_batch=batch)
            yield batch
            self.runner.call_hook("after_val_iter", batch_idx=index, data_batch=batch, outputs=None)


def build_metrics(evaluator: Metrics | Options) -> Metrics:
    """What a config's `val_evaluator` or `test_evaluator` says is counted.

    Raises:
        ValueError: it says something else.
    """
    built = METRICS.build(evaluator) if isinstance(evaluator, dict) else evaluator
    if not isinstance(built, Metrics):
        raise ValueError(f"an evaluator of the config is {type(built).__name__}; expected dict(type=Metrics, ...)")
    return built
