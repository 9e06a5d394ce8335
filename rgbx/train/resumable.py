"""The part of the runner that saves, resumes and transfers training state."""

from __future__ import annotations

import functools
import math
import reprlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mmengine.runner
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size, master_only
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.utils.data import BatchSampler

from rgbx._refusing import refusing
from rgbx._runs import find_intact, passed_over, resumable_name
from rgbx._types import State
from rgbx.backbones import cast
from rgbx.datasets import EpochSampler
from rgbx.layers import recount_subsets
from rgbx.models import checkpoint as files
from rgbx.models.checkpoint import to_plain
from rgbx.models.load import fit
from rgbx.models.multimodal import MultimodalModel
from rgbx.models.recipe import upgrade_tensors
from rgbx.train import changes
from rgbx.train.distributed import is_running, unwrap
from rgbx.train.finetune import transfer
from rgbx.train.numerics import SKIPPED, FiniteGuard
from rgbx.train.seeding import derive_seed, random_state, seed_everything, set_random_state
from rgbx.train.stopping import StopRequest

HUB_KINDS: dict[str, type | tuple[type, ...]] = {
    "best_score": (int, float),
    "best_ckpt": str,
    "keep_ckpt_ids": list,
    SKIPPED: int,
}  # in mmengine's message hub
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")  # that have the shape of their parameter
SCHEDULED = ("initial_lr",)  # what only a schedule adds to an optimizer
OF_LOSSES = ".task.loss."  # in the names of buffers, such as class weights
INSIDE = "inside_epoch"  # of a checkpoint: how far the epoch under way is, and what else each process has in memory


class ResumableRunner(mmengine.runner.Runner):
    """Checkpoints that are written whole, hold plain types and the model's recipe, and resume.

    Resuming repeats the uninterrupted run bit for bit: at an epoch boundary, as epochs are seeded
    (`rgbx.train.seeding`); inside an epoch, as the checkpoint has the state of all generators and the
    number of samples that are done. What the config changes of the run is applied and told, or refused
    (`rgbx.train.changes`). `load_from` transfers what fits (`rgbx.train.finetune`). The
    config's `trust_checkpoint` allows files with arbitrary pickled objects.
    """

    guard: FiniteGuard
    _has_loaded: bool
    _inside: State | None = None  # of the checkpoint that was resumed, until its epoch goes on
    _ahead = -1, 0  # an epoch that was resumed inside, and samples that it had had beside those of batches of today
    _randomness_cfg: dict[str, Any]
    optim_wrapper: Any
    param_schedulers: Any

    @property
    def network(self) -> MultimodalModel:
        """The model without its distributed wrapper."""
        return unwrap(self.model)

    @functools.cached_property
    def stop_request(self) -> StopRequest:
        """What signals ask of this run."""
        return StopRequest()

    @property
    def trust(self) -> bool:
        return bool(self.cfg.get("trust_checkpoint", False))

    def load_or_resume(self) -> None:
        """Resumes, or transfers weights, once, as `resume` and `load_from` say."""
        if self._has_loaded:
            return
        if self._resume:
            source = self._load_from or find_intact(self.work_dir)
            if source is None:
                self.logger.info(f"Nothing to resume in {self.work_dir}: starting at epoch 1.")
            else:
                self.resume(str(source))
        elif self._load_from is not None:
            self.load_for_finetuning(self._load_from)
        self._has_loaded = True

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable[..., Any] = "cpu",
    ) -> None:
        """Restores the whole training state as it was when it was saved, with what the config changes of it.

        Raises:
            ValueError: the checkpoint has no training state or a damaged one, or fits another model; a change that
                cannot be followed.
        """
        state = files.read_checkpoint(filename, trust=self.trust)
        for damaged in passed_over(Path(filename)):
            self.logger.warning(f"{damaged}; going on from {filename}")
        with refusing(f"checkpoint {filename}", "it cannot be resumed"):
            self._continue(state, filename)

    def _continue(self, saved: State, filename: str) -> None:
        state = dict(saved)
        _check_training_state(state, filename)
        changed, unknown = changes.changes_of_run(state, self.cfg, self.network.recipe)
        for key in ("state_dict", "ema_state_dict"):
            if key in state:
                state[key] = self._tensors(state, key)
        self._load_state(state, filename)
        self._inside = state.get(INSIDE)
        if self._inside is not None:
            self._resume_inside(self._inside)
        self.train_loop._epoch = state["meta"]["epoch"]
        self.train_loop._iter = self.epoch * len(self.train_dataloader) + self._batches_done()
        self._resume_seed(state["meta"]["seed"])
        self.message_hub.load_state_dict(message_hub_from_plain(state["message_hub"]))
        self._resume_optimizer(state, changed)
        if any(changes.begins(path, changes.OTHER_VALIDATION) for path in changed):
            for name in ("best_score", "best_ckpt"):
                self.message_hub.runtime_info.pop(name, None)
        left = "" if self.epoch < self.max_epochs else f" Nothing is left to train: max_epochs is {self.max_epochs}."
        more = f" and {self._batches_done()} of {len(self.train_dataloader)} batches" if self._inside else ""
        self.logger.info(f"Resumed {filename} after epoch {self.epoch}{more}.{left}")
        for path, change in changed.items():
            self.logger.info(f"{path}: {change}: applied")
        if unknown:
            self.logger.warning(f"Whether {', '.join(unknown)} changed cannot be told: {filename} does not hold it.")

    def _resume_optimizer(self, state: State, changed: Mapping[str, str]) -> None:
        """What the optimizer remembers, and the schedules where they were, or where the changed ones would be."""
        planned = [path for path in changed if changes.begins(path, changes.PLANNED)]
        batches = len(self.train_dataloader)
        before = self._inside["length"] if self._inside else state["meta"]["iter"] / max(1, self.epoch)
        if not planned and batches == before:
            _load_optimizer(self.optim_wrapper, state["optimizer"])
            if self.param_schedulers is not None:
                _load_schedules(self.param_schedulers, state["param_schedulers"])
            return
        if batches != before:
            self.logger.info(f"An epoch has {batches} batches now, {before:g} before; schedules follow the epochs.")
        try:
            changes.advance(
                self.param_schedulers,
                epochs=self.epoch,
                batches=batches,
                more=self._batches_done(),
                max_epochs=self.max_epochs,
            )
        except ValueError as error:
            raise ValueError(f"{', '.join(planned) or 'the length of an epoch'} changed: {error}") from error
        values = changes.hyperparameters(self.optim_wrapper)
        _load_optimizer(self.optim_wrapper, state["optimizer"])
        changes.set_hyperparameters(self.optim_wrapper, values)

    def _resume_seed(self, seed: int) -> None:
        if seed != self.seed:
            self.logger.warning(f"The run was started with seed {seed}; that seed is kept, not {self.seed}.")
        self._randomness_cfg = {**self._randomness_cfg, "seed": seed}
        self.set_randomness(**self._randomness_cfg)
        if hasattr(self.train_dataloader.sampler, "seed"):
            self.train_dataloader.sampler.seed = seed

    def _batches_done(self) -> int:
        """Batches of the epoch under way that are done, of today's size: all but those that are left of it.

        So the epoch ends with its last batch also where the size has changed since.
        """
        if self._inside is None:
            return 0
        loader = self.train_dataloader
        samples = max(0, loader.sampler.total - self._inside["samples"])
        left = math.ceil(samples / get_world_size()) / loader.batch_sampler.batch_size
        return len(loader) - (math.floor(left) if loader.batch_sampler.drop_last else math.ceil(left))

    def _samples_of_step(self) -> int:
        """Samples that all processes together take for one batch each."""
        return self.train_dataloader.batch_sampler.batch_size * get_world_size()

    def _resume_inside(self, inside: State) -> None:
        """Takes back what each process had of its own; the generators only to see that they can be, see `enter_epoch`.

        Of another number of processes than now, which have no successor each, the buffers become their mean.
        """
        self.check_inside()
        processes, rank = inside["processes"], get_rank()
        set_random_state(processes[0]["random"], self.network.draws)
        self._set_buffers([processes[rank]] if len(processes) == get_world_size() else processes)

    def enter_epoch(self) -> int:
        """Goes on inside the epoch that the resumed checkpoint was saved in; returns how many of its batches are done.

        To be called where an epoch would begin with its first batch, after all that seeds an epoch.
        """
        if self._inside is None:
            return 0
        inside, done, self._inside = self._inside, self._batches_done(), None
        self._ahead = self.epoch, inside["samples"] - done * self._samples_of_step()
        sampler = self.train_dataloader.sampler
        sampler.set_epoch(self.epoch, done=inside["samples"])
        if inside.get("order", "") != sampler.order_digest():
            raise ValueError(
                f"the samples of epoch {self.epoch + 1} do not come in the order in which they did when its checkpoint "
                "was saved: have shards been packed anew, or shuffle_buffer changed, or of frames that differ in what "
                "they have, the batch size or number of processes? Restore them, or resume from the end of an epoch"
            )
        processes, rank = inside["processes"], get_rank()
        if len(processes) == get_world_size():
            set_random_state(processes[rank]["random"], self.network.draws)
        else:  # all draw the same modalities as before, and each what no process has drawn yet
            set_random_state(processes[0]["random"], self.network.draws)
            seed_everything(derive_seed(self.seed, self.epoch, rank, self.iter))
        return done

    @property
    def resumes_inside(self) -> bool:
        """Whether the order of the training samples can be taken up inside an epoch."""
        loader = self.train_dataloader
        return isinstance(loader.sampler, EpochSampler) and type(loader.batch_sampler) is BatchSampler

    def check_inside(self) -> None:
        """Whether the order of the training samples can be taken up inside an epoch.

        Raises:
            ValueError: it cannot.
        """
        loader = self.train_dataloader
        if not self.resumes_inside:
            raise ValueError(
                "a training can be saved and resumed inside an epoch where its sampler is rgbx.datasets.EpochSampler "
                f"and it has no batch_sampler; found {type(loader.sampler).__name__} and "
                f"{type(loader.batch_sampler).__name__}"
            )

    def save_inside_epoch(self, batches: int) -> str:
        """Saves the state between two steps of an epoch; returns the checkpoint's name. All processes call it together.

        Args:
            batches: of this epoch that are done.

        Raises:
            ValueError: see `check_inside`; weights that are not finite.
        """
        self.check_inside()
        self.guard.check_weights(self)  # in all processes, of which one writes
        own = {"random": to_plain(random_state(self.network.draws)), "buffers": to_plain(self._own_buffers())}
        epoch, ahead = self._ahead
        inside = {
            "samples": batches * self._samples_of_step() + ahead * (epoch == self.epoch),
            "length": len(self.train_dataloader),
            "order": self.train_dataloader.sampler.order_digest(),
            "processes": all_gather_object(own),
        }
        done = self.epoch * len(self.train_dataloader) + batches
        name = resumable_name(self.epoch, done)
        self.save_checkpoint(self.work_dir, name, meta={"epoch": self.epoch, "iter": done}, inside=inside)
        return name

    def _own_buffers(self) -> dict[str, Tensor]:
        """What each of several processes has of its own until they are made equal at the end of an epoch."""
        if get_world_size() == 1:
            return {}
        return {f"{part}.{name}": x for part, model in self._models().items() for name, x in model.named_buffers()}

    def _models(self) -> dict[str, nn.Module]:
        """The model and its averages."""
        averages = [hook.ema_model.module for hook in self.hooks if isinstance(hook, EMAHook)]
        return {str(part): model for part, model in enumerate([self.network, *averages])}

    def _set_buffers(self, processes: Sequence[State]) -> None:
        """Takes buffers back: of several processes' the mean of running statistics, and else the first one's."""
        for part, model in self._models().items():
            for name, buffer in model.named_buffers():
                found = [process["buffers"].get(f"{part}.{name}") for process in processes]
                there = [x for x in found if isinstance(x, Tensor)]
                for x in there:
                    if x.shape != buffer.shape:
                        raise ValueError(f"its {INSIDE} has {name} {list(x.shape)}; expected {list(buffer.shape)}")
                if there:
                    buffer.copy_(torch.stack(there).mean(0) if is_running(name) else there[0])
            recount_subsets(model.modules())

    def load_for_finetuning(self, filename: str) -> None:
        """Transfers the tensors that fit and logs what became of the others."""
        state = files.read_checkpoint(filename, trust=self.trust)
        weights = files.model_weights(state, filename)
        with refusing(f"checkpoint {filename}", "its weights cannot be used"):
            weights, summary = transfer(
                self.network, upgrade_tensors(state["model"], weights) if state.get("model") else weights
            )
        self._load_state({"state_dict": weights}, filename)
        self.logger.info(f"Weights from {filename}:\n{summary.table()}")

    def _tensors(self, state: State, key: str) -> dict[str, Any]:
        """The model's tensors, or their average's, by today's names; what losses hold is the config's."""
        prefix = "module." if key == "ema_state_dict" else ""
        saved = {name.removeprefix(prefix): x for name, x in state[key].items() if name.startswith(prefix)}
        saved = upgrade_tensors(state["model"], saved) if state.get("model") else saved
        saved = {name: x for name, x in saved.items() if OF_LOSSES not in name}
        own = {name: x for name, x in self.network.state_dict().items() if OF_LOSSES in name}
        others = {name: x for name, x in state[key].items() if not name.startswith(prefix)}
        return others | {f"{prefix}{name}": x for name, x in {**saved, **own}.items()}

    def _load_state(self, state: dict[str, Any], filename: str) -> None:
        whose = "the config's model"
        if "ema_state_dict" in state:
            averaged = fit(self.network, _averaged(state["ema_state_dict"]), filename, f"{whose} in its average")
            if not any(isinstance(hook, EMAHook) for hook in self.hooks):
                state["state_dict"] |= averaged  # the weights whose average was saved for use
        self.call_hook("after_load_checkpoint", checkpoint=state)  # an EMA takes its part
        fitting = fit(self.network, state["state_dict"], filename, whose)
        self.network.load_state_dict({**self.network.state_dict(), **fitting})

    @master_only
    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: Any = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: Any = None,
        inside: State | None = None,
    ) -> None:
        """Writes a checkpoint of plain types and tensors.

        Keys: `state_dict` (with an EMA, the averaged weights), `model` (the recipe that
        `rgbx.load` rebuilds it from), `meta` (epoch, iter, seed, config as text
        and flat, dataset), `message_hub`, `optimizer` and `param_schedulers` where asked for, and `inside_epoch`, see
        `save_inside_epoch`.
        """
        state: dict[str, Any] = {
            "meta": {"epoch": self.epoch + 1, "iter": self.iter, **(meta or {}), **self._description()},
            "model": to_plain(self.network.recipe),
            "state_dict": dict(self.network.state_dict()),
            "message_hub": message_hub_to_plain(self.message_hub),
        }
        if inside is not None:
            state[INSIDE] = inside
        if save_optimizer:
            state["optimizer"] = self.optim_wrapper.state_dict()
        if save_param_scheduler and self.param_schedulers is not None:
            state["param_schedulers"] = _schedule_states(self.param_schedulers)
        self.call_hook("before_save_checkpoint", checkpoint=state)
        files.save_atomically(to_plain(state), Path(out_dir, filename))

    def _description(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "cfg": self.cfg.pretty_text,
            "config": changes.flat_config(self.cfg),
            "experiment_name": self.experiment_name,
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "dataset_meta": getattr(self.train_dataloader.dataset, "metainfo", None),
        }


def _averaged(ema: State) -> dict[str, Any]:
    """The model's tensors of an EMA's state."""
    return {name.removeprefix("module."): x for name, x in ema.items() if name.startswith("module.")}


def _schedule_states(schedules: Any) -> Any:
    """State of a list of schedules, or of lists by the name of their optimizer."""
    if isinstance(schedules, dict):
        return {name: _schedule_states(items) for name, items in schedules.items()}
    return [item.state_dict() for item in schedules]


def _check_training_state(state: State, filename: str) -> None:
    """Refuses a checkpoint without training state, or with values there that no run saves."""
    for key in ("optimizer", "message_hub", "meta"):
        if not isinstance(state.get(key), Mapping):
            raise ValueError(
                f"checkpoint {filename} has no {key!r} and cannot be resumed: use "
                "an epoch_N.pth, or --load-from to start from its weights"
            )
    found = {name: state["meta"].get(name) for name in ("epoch", "iter", "seed")}
    for name, value in found.items():
        if type(value) is not int or not 0 <= value < 2**63:
            raise ValueError(f"its meta.{name} is {value!r}; expected a whole number from 0 on")
    _check_inside(state.get(INSIDE))
    for name, kind in HUB_KINDS.items():
        value = state["message_hub"].get("runtime_info", {}).get(name)
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"its message_hub.runtime_info.{name} is {value!r}; expected {kind}")


def _check_inside(inside: object) -> None:
    """Refuses what no run saves of the epoch that it was in."""
    if inside is None:
        return
    counts = [inside.get(name) for name in ("samples", "length")] if isinstance(inside, Mapping) else []
    processes = inside.get("processes") if isinstance(inside, Mapping) else None
    whole = [type(count) is int and 0 <= count < 2**63 for count in counts]
    if not (counts and all(whole) and isinstance(processes, list) and processes):
        raise ValueError(f"its {INSIDE} is {reprlib.repr(inside)}; expected samples, length and processes")
    for process in processes:
        parts = [process.get(name) for name in ("random", "buffers")] if isinstance(process, Mapping) else [None]
        if not all(isinstance(part, Mapping) for part in parts):
            raise ValueError(f"its {INSIDE}.processes has {reprlib.repr(process)}; expected random and buffers")


def _load_optimizer(wrapper: OptimWrapper | OptimWrapperDict, saved: State) -> None:
    """Takes over what an optimizer remembers, once it is of these parameters.

    Raises:
        ValueError: it is of others, or holds values of other kinds.
    """
    before = changes.hyperparameters(wrapper)
    wrapper.load_state_dict(saved)
    for part, groups in changes.hyperparameters(wrapper).items():
        for own, found in zip(before[part], groups, strict=True):
            for name, value in own.items():
                if name not in SCHEDULED and _kind(found.get(name)) != _kind(value):
                    raise ValueError(f"its optimizer has {name}={found.get(name)!r}; expected such as {value!r}")
    for part in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else (wrapper,):
        for parameter, remembered in part.optimizer.state.items():
            found = {name: remembered[name] for name in MOMENTS if remembered.get(name) is not None}
            for name, x in found.items():
                if not isinstance(x, Tensor) or x.shape != parameter.shape:
                    shape = list(x.shape) if isinstance(x, Tensor) else reprlib.repr(x)
                    raise ValueError(f"its optimizer's {name} of a tensor {list(parameter.shape)} is {shape}")
            cast(found, dict.fromkeys(found, parameter), "its optimizer")


def _kind(value: object) -> object:
    """Numbers are of one kind; containers of the kinds of what they hold."""
    if isinstance(value, (list, tuple)):
        return [_kind(item) for item in value]
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def _load_schedules(schedules: Any, states: Any) -> None:
    if isinstance(schedules, dict) != isinstance(states, dict) or len(schedules) != len(states):
        raise ValueError("the checkpoint's schedules are of other optimizers than the config's")
    if isinstance(schedules, dict):
        for name, items in schedules.items():
            _load_schedules(items, states[name])
        return
    for scheduler, saved in zip(schedules, states, strict=True):
        own = to_plain(scheduler.state_dict())
        for name, value in saved.items():
            if callable(getattr(type(scheduler), name, None)) or _kind(own.get(name, value)) != _kind(value):
                raise ValueError(
                    f"its {type(scheduler).__name__} has {name}={value!r}; expected such as {own.get(name)!r}"
                )
        scheduler.load_state_dict(saved)


def message_hub_to_plain(hub: MessageHub) -> dict[str, Any]:
    """mmengine's message hub (logged histories and run information) as plain types.

    The hub keeps HistoryBuffer objects and whatever a hook stored; information that has no plain
    form is left out, as nothing that rgbx resumes from is of that kind.
    """
    state = hub.state_dict()
    information = {}
    for name, value in state["runtime_info"].items():
        try:
            information[name] = to_plain(value)
        except TypeError:
            continue
    histories = {
        name: {
            "values": torch.as_tensor(buffer.data[0], dtype=torch.float64),
            "counts": torch.as_tensor(buffer.data[1], dtype=torch.int64),
        }
        for name, buffer in state["log_scalars"].items()
    }
    return {
        "log_scalars": histories,
        "runtime_info": information,
        "resumed_keys": {
            name: bool(kept) for name, kept in state["resumed_keys"].items() if name in histories or name in information
        },
    }


def message_hub_from_plain(state: State) -> dict[str, Any]:
    """The inverse of `message_hub_to_plain`, for `MessageHub.load_state_dict`."""
    histories = {
        name: HistoryBuffer(buffer["values"].tolist(), buffer["counts"].tolist())
        for name, buffer in state["log_scalars"].items()
    }
    return {**state, "log_scalars": histories}
