"""mmengine's runner with checkpoints that resume exactly, and with training on the CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import mmengine.runner
import torch
import torch.distributed
from mmengine.config import Config
from mmengine.dist import is_distributed, master_only
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import nn
from torch.utils.data import DataLoader

from rgbx._torchvision import ensure_torchvision
from rgbx.engine import checkpoint as files
from rgbx.engine.console import shorten_console
from rgbx.engine.finetune import transfer
from rgbx.engine.plain import message_hub_from_plain, message_hub_to_plain, to_plain
from rgbx.engine.seeding import EpochSeedHook

ensure_torchvision()  # mmengine imports it to log its version


class Runner(mmengine.runner.Runner):
    """Trains and evaluates by epochs.

    What differs from mmengine: checkpoints are written whole or not at all, hold plain types only
    and carry the model's recipe; paths inside them are relative to the work directory; resuming at
    an epoch boundary repeats the uninterrupted run bit for bit; processes without a GPU talk
    through gloo. `load_from` transfers what fits (`rgbx.engine.finetune`). The config's
    `trust_checkpoint` allows files with arbitrary pickled objects.
    """

    _timestamps: ClassVar[set[str]] = set()
    _timestamp: str
    _has_loaded: bool
    _randomness_cfg: dict[str, Any]
    optim_wrapper: Any
    param_schedulers: Any

    @classmethod
    def from_cfg(cls, cfg: Any) -> Runner:
        """Builds a runner from a config, or from a dict that may hold classes and objects."""
        if not isinstance(cfg, Config):  # mmengine's formatter fails on what is not source code
            cfg = Config(dict(cfg), format_python_code=False)
        return super().from_cfg(cfg)

    @property
    def network(self) -> Any:
        """The model without its distributed wrapper."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    @property
    def trust(self) -> bool:
        return bool(self.cfg.get("trust_checkpoint", False))

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Joins the process group; makes the timestamp unique, as mmengine keys state by it."""
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            torch.distributed.init_process_group("gloo")
        super().setup_env(env_cfg)
        base, count = self._timestamp, 1
        while self._timestamp in self._timestamps:
            count += 1
            self._timestamp = f"{base}_{count}"
        self._timestamps.add(self._timestamp)

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False,
                       deterministic: bool = False) -> None:
        """Seeds everything; the seed is 0 unless given."""
        if deterministic:  # cuBLAS reads this when it starts
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        super().set_randomness(0 if seed is None else seed, diff_rank_seed, deterministic)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        shorten_console(logger)
        return logger

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Moves the model to its device and, with several processes, wraps it for them."""
        if not self.distributed or model_wrapper_cfg is not None or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        local = [int(os.environ["LOCAL_RANK"])] if torch.cuda.is_available() else None
        return MMDistributedDataParallel(
            module=model.cuda() if local else model, device_ids=local, broadcast_buffers=False,
            find_unused_parameters=bool(getattr(model, "needs_unused_parameter_search", False)))

    def _init_model_weights(self) -> None:
        """Nothing: builders initialise their model, and load pretrained weights, themselves."""

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """mmengine's default hooks, the seeding of epochs, and an EMA where the config says so."""
        super().register_default_hooks({"epoch_seed": {"type": EpochSeedHook}, **(hooks or {})})
        ema = self.cfg.get("ema", False)
        if ema is not None and ema is not False:
            self.register_hook(EMAHook(**({} if ema is True else dict(ema))))

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        built = super().build_optim_wrapper(optim_wrapper)
        if hasattr(built, "set_epoch_length"):
            built.set_epoch_length(len(self.train_dataloader))
        return built

    @staticmethod
    def build_dataloader(dataloader: Any, seed: int | None = None,
                         diff_rank_seed: bool = False) -> DataLoader[Any]:
        """Gives the loader a generator of its own.

        Starting workers draws a number, which persistent workers do once per process rather than
        once per epoch: from the global generator, a resumed run would be one draw ahead.
        """
        built = mmengine.runner.Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if built.generator is None:
            built.generator = torch.Generator().manual_seed(seed or 0)
        return built

    def prepare_training(self) -> None:
        """Builds datasets and loops, so that what is wrong with them shows before anything runs."""
        for loop in (self.train_loop, self.val_loop):
            if loop is not None:
                self._check_classes(loop.dataloader.dataset)

    def prepare_testing(self) -> None:
        """The same for the test loop."""
        self._check_classes(self.test_loop.dataloader.dataset)

    def _check_classes(self, dataset: Any) -> None:
        recipe = getattr(self.network, "recipe", None) or {}
        expected = recipe.get("parameters", {}).get("num_classes")
        found = len(getattr(dataset, "metainfo", {}).get("classes", ()))
        if expected is not None and found and found != expected:
            raise ValueError(f"the model has num_classes={expected}, but {type(dataset).__name__} "
                             f"has {found} classes")

    def build_train_loop(self, loop: Any) -> mmengine.runner.BaseLoop:
        """Builds the epoch loop.

        Raises:
            ValueError: another kind of loop, or not even one batch.
        """
        if isinstance(loop, dict) and not loop.get("by_epoch", "type" in loop):
            raise ValueError("train_cfg must say by_epoch=True: rgbx trains by epochs, as only "
                             "epoch boundaries can be resumed exactly")
        built = super().build_train_loop(loop)
        if len(built.dataloader) == 0:
            raise ValueError(f"an epoch has no batch: the {len(built.dataloader.dataset)} training "
                             f"samples do not fill one batch of {built.dataloader.batch_size} and "
                             "drop_last=True")
        return built

    def _maybe_compile(self, target: str) -> None:
        """Compiles the network where the config says `compile=True` or `compile=dict(...)`."""
        options = self.cfg.get("compile", False)
        if options is not None and options is not False:
            self.network.compile_network(**({} if options is True else dict(options)))
            self.logger.info("The network is compiled at its first batch, which takes a while.")

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

    def resume(self, filename: str, resume_optimizer: bool = True,
               resume_param_scheduler: bool = True,
               map_location: str | Callable[..., Any] = "cpu") -> None:
        """Restores the whole training state as it was at the end of an epoch.

        Raises:
            ValueError: the checkpoint has no training state, or fits another model.
        """
        state = files.read_checkpoint(filename, trust=self.trust)
        for key in ("optimizer", "message_hub", "meta"):
            if key not in state:
                raise ValueError(f"checkpoint {filename} has no {key!r} and cannot be resumed: use "
                                 "an epoch_N.pth, or --load-from to start from its weights")
        self._load_state(state, filename)
        self.train_loop._epoch = state["meta"]["epoch"]
        self.train_loop._iter = state["meta"]["iter"]
        self._resume_seed(state["meta"]["seed"])
        self.message_hub.load_state_dict(message_hub_from_plain(state["message_hub"]))
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        self.optim_wrapper.load_state_dict(state["optimizer"])
        if self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            for scheduler, saved in zip(self.param_schedulers, state["param_schedulers"],
                                        strict=True):
                scheduler.load_state_dict(saved)
        self.logger.info(f"Resumed {filename} after epoch {self.epoch}.")

    def _resume_seed(self, seed: int) -> None:
        if seed != self.seed:
            self.logger.warning(f"The run was started with seed {seed}; that seed is kept, "
                                f"not {self.seed}.")
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
        differing = [name for name in {**own, **saved} if not name.endswith(files.EXTRA_STATE)
                     and (name not in own or name not in saved
                          or saved[name].shape != own[name].shape)]
        if differing:
            raise ValueError(f"checkpoint {filename} does not fit the config's model: "
                             f"{len(differing)} tensors differ, such as {differing[0]}; is it of "
                             "another backbone, class count or set of modalities?")
        extra = {name: own[name] for name in own if name not in saved}
        self.network.load_state_dict({**{name: saved[name] for name in own if name in saved},
                                      **extra})

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, file_client_args: Any = None,
                        save_optimizer: bool = True, save_param_scheduler: bool = True,
                        meta: dict[str, Any] | None = None, by_epoch: bool = True,
                        backend_args: Any = None) -> None:
        """Writes a checkpoint of plain types and tensors.

        Keys: `state_dict` (with an EMA, the averaged weights), `model` (the recipe that
        `rgbx.models.build_model` rebuilds it from), `meta` (epoch, iter, seed, config text,
        dataset), `message_hub`, and `optimizer` and `param_schedulers` where asked for.
        """
        state: dict[str, Any] = {
            "meta": {"epoch": self.epoch + 1, "iter": self.iter, **(meta or {}),
                     **self._description()},
            "model": to_plain(getattr(self.network, "recipe", None)),
            "state_dict": dict(self.network.state_dict()),
            "message_hub": message_hub_to_plain(self.message_hub)}
        if save_optimizer:
            state["optimizer"] = self.optim_wrapper.state_dict()
        if save_param_scheduler and self.param_schedulers is not None:
            state["param_schedulers"] = [item.state_dict() for item in self.param_schedulers]
        self.call_hook("before_save_checkpoint", checkpoint=state)
        files.save_atomically(to_plain(state), Path(out_dir, filename))

    def _description(self) -> dict[str, Any]:
        return {"seed": self.seed, "cfg": self.cfg.pretty_text,
                "experiment_name": self.experiment_name,
                "time": time.strftime("%Y-%m-%d %H:%M:%S"),
                "dataset_meta": getattr(self.train_dataloader.dataset, "metainfo", None)}
