"""The part of the runner that saves, resumes and transfers training state."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmengine.runner
from mmengine.dist import master_only
from mmengine.model import is_model_wrapper

from rgbx.models import checkpoint as files
from rgbx.models.checkpoint import to_plain
from rgbx.train.finetune import transfer
from rgbx.train.plain import message_hub_from_plain, message_hub_to_plain


class ResumableRunner(mmengine.runner.Runner):
    """Checkpoints that are written whole, hold plain types and the model's recipe, and resume.

    Resuming at an epoch boundary repeats the uninterrupted run bit for bit, given that epochs are
    seeded (`rgbx.train.seeding`). `load_from` transfers what fits (`rgbx.train.finetune`). The
    config's `trust_checkpoint` allows files with arbitrary pickled objects.
    """

    _has_loaded: bool
    _randomness_cfg: dict[str, Any]
    optim_wrapper: Any
    param_schedulers: Any

    @property
    def network(self) -> Any:
        """The model without its distributed wrapper."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    @property
    def trust(self) -> bool:
        return bool(self.cfg.get("trust_checkpoint", False))

    def load_or_resume(self) -> None:
        """Resumes, or transfers weights, once, as `resume` and `load_from` say."""
        if self._has_loaded:
            return
        if self._resume:
            source = self._load_from or files.find_last(self.work_dir)
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
        """Restores the whole training state as it was at the end of an epoch.

        Raises:
            ValueError: the checkpoint has no training state, or fits another model.
        """
        state = files.read_checkpoint(filename, trust=self.trust)
        for key in ("optimizer", "message_hub", "meta"):
            if key not in state:
                raise ValueError(
                    f"checkpoint {filename} has no {key!r} and cannot be resumed: use "
                    "an epoch_N.pth, or --load-from to start from its weights"
                )
        self._load_state(state, filename)
        self.train_loop._epoch = state["meta"]["epoch"]
        self.train_loop._iter = state["meta"]["iter"]
        self._resume_seed(state["meta"]["seed"])
        self.message_hub.load_state_dict(message_hub_from_plain(state["message_hub"]))
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        self.optim_wrapper.load_state_dict(state["optimizer"])
        if self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            _load_schedules(self.param_schedulers, state["param_schedulers"])
        left = "" if self.epoch < self.max_epochs else f" Nothing is left to train: max_epochs is {self.max_epochs}."
        self.logger.info(f"Resumed {filename} after epoch {self.epoch}.{left}")

    def _resume_seed(self, seed: int) -> None:
        if seed != self.seed:
            self.logger.warning(f"The run was started with seed {seed}; that seed is kept, not {self.seed}.")
        self._randomness_cfg = {**self._randomness_cfg, "seed": seed}
        self.set_randomness(**self._randomness_cfg)
        if hasattr(self.train_dataloader.sampler, "seed"):
            self.train_dataloader.sampler.seed = seed

    def load_for_finetuning(self, filename: str) -> None:
        """Transfers the tensors that fit and logs what became of the others."""
        state = files.read_checkpoint(filename, trust=self.trust)
        weights, summary = transfer(self.network, files.model_weights(state, filename))
        self._load_state({"state_dict": weights}, filename)
        self.logger.info(f"Weights from {filename}:\n{summary.table()}")

    def load_weights(self, filename: str) -> None:
        """Loads a checkpoint that must fit the model exactly, for evaluation."""
        state = files.read_checkpoint(filename, trust=self.trust)
        self._load_state({"state_dict": files.model_weights(state, filename)}, filename)
        self._has_loaded = True

    def _load_state(self, state: dict[str, Any], filename: str) -> None:
        self.call_hook("after_load_checkpoint", checkpoint=state)  # an EMA takes its part
        own, saved = self.network.state_dict(), state["state_dict"]
        differing = [
            name
            for name in {**own, **saved}
            if not name.endswith(files.EXTRA_STATE)
            and (name not in own or name not in saved or saved[name].shape != own[name].shape)
        ]
        if differing:
            raise ValueError(
                f"checkpoint {filename} does not fit the config's model: "
                f"{len(differing)} tensors differ, such as {differing[0]}; is it of "
                f"another backbone, class count or set of modalities?{files.config_hint(filename)}"
            )
        extra = {name: own[name] for name in own if name not in saved}
        self.network.load_state_dict({**{name: saved[name] for name in own if name in saved}, **extra})

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
    ) -> None:
        """Writes a checkpoint of plain types and tensors.

        Keys: `state_dict` (with an EMA, the averaged weights), `model` (the recipe that
        `rgbx.models.build_model` rebuilds it from), `meta` (epoch, iter, seed, config text,
        dataset), `message_hub`, and `optimizer` and `param_schedulers` where asked for.
        """
        state: dict[str, Any] = {
            "meta": {"epoch": self.epoch + 1, "iter": self.iter, **(meta or {}), **self._description()},
            "model": to_plain(getattr(self.network, "recipe", None)),
            "state_dict": dict(self.network.state_dict()),
            "message_hub": message_hub_to_plain(self.message_hub),
        }
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
            "experiment_name": self.experiment_name,
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "dataset_meta": getattr(self.train_dataloader.dataset, "metainfo", None),
        }


def _schedule_states(schedules: Any) -> Any:
    """State of a list of schedules, or of lists by the name of their optimizer."""
    if isinstance(schedules, dict):
        return {name: _schedule_states(items) for name, items in schedules.items()}
    return [item.state_dict() for item in schedules]


def _load_schedules(schedules: Any, states: Any) -> None:
    if isinstance(schedules, dict) != isinstance(states, dict) or len(schedules) != len(states):
        raise ValueError("the checkpoint's schedules are of other optimizers than the config's")
    if isinstance(schedules, dict):
        for name, items in schedules.items():
            _load_schedules(items, states[name])
        return
    for scheduler, saved in zip(schedules, states, strict=True):
        scheduler.load_state_dict(saved)
