"""Where else a training is logged: experiment trackers, through mmengine's own backends.

Each gets the config, what every step and every validation logs, and the name of the run. A resumed training goes on in
its run where the tracker can: MLflow and Weights & Biases, by what `NOTE` in the work directory keeps.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.visualization import (
    AimVisBackend,
    ClearMLVisBackend,
    DVCLiveVisBackend,
    LocalVisBackend,
    MLflowVisBackend,
    NeptuneVisBackend,
    TensorboardVisBackend,
    Visualizer,
    WandbVisBackend,
)

from rgbx._files import read_json
from rgbx.maps import replace_file

NOTE = "trackers.json"  # in a work directory: by tracker, the id of its run
STORE = "mlruns"  # in a work directory, where no server of MLflow is named
_NO_PARAMETER = re.compile(r"[^\w./ -]")


class Run(NamedTuple):
    """A training as trackers know it: what it belongs to, its name, and its folder."""

    experiment: str
    name: str
    folder: Path


class MLflowBackend(MLflowVisBackend):
    """mmengine's, for MLflow of today, and for runs that go on.

    MLflow 3 wants to be told that a folder may be its store, and takes no parameter a second time with another value,
    as a resumed run may have it. mmengine's also copies the work directory into the store, which lies in it here.

    Args:
        note: the file of `NOTE`; a run that stands there goes on.
    """

    def __init__(self, *args: Any, note: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._note = Path(note)

    def _init_env(self) -> None:
        if self._tracking_uri is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        if run := noted(self._note).get("mlflow"):
            os.environ["MLFLOW_RUN_ID"] = run  # the run that MLflow starts next
        try:
            super()._init_env()
            keep(self._note, "mlflow", self._mlflow.active_run().info.run_id)
        except Exception as error:  # a server that does not answer, a run or an experiment that was deleted
            where = self._tracking_uri or self._save_dir
            raise OSError(f"MLflow at {where}: {next(iter(str(error).splitlines()), '')[:300]}") from error
        finally:
            os.environ.pop("MLFLOW_RUN_ID", None)

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """The values of a config as parameters, those that stand there already left as they were, and its text."""
        run = self.experiment.active_run().info.run_id
        known = self._mlflow.get_run(run).data.params
        found = {_NO_PARAMETER.sub("_", name): str(x) for name, x in self._flatten(config.to_dict()).items()}
        self._mlflow.log_params({name: text[:500] for name, text in found.items() if name not in known})
        self._mlflow.log_text(config.pretty_text, "config.py")

    def close(self) -> None:
        """Ends the run; the next one in this process looks for its own store, which MLflow keeps in the environment."""
        if hasattr(self, "_mlflow"):
            self._mlflow.end_run()
            if self._tracking_uri is None:
                os.environ.pop("MLFLOW_TRACKING_URI", None)


class WandbBackend(WandbVisBackend):
    """mmengine's, which notes the run.

    Args:
        note: the file of `NOTE`.
    """

    def __init__(self, *args: Any, note: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._note = Path(note)

    def _init_env(self) -> None:
        super()._init_env()
        keep(self._note, "wandb", self._init_kwargs["id"])


def noted(note: Path) -> dict[str, str]:
    """The runs that a work directory is logged in, by tracker."""
    found = read_json(note) if note.is_file() else {}
    return {name: run for name, run in found.items() if isinstance(run, str)} if isinstance(found, dict) else {}


def keep(note: Path, tracker: str, run: str) -> None:
    """Notes the run of a tracker."""
    replace_file(note, f"{json.dumps({**noted(note), tracker: run})}\n".encode())


def add_trackers(config: Config, names: Sequence[str], experiment: str) -> None:
    """Adds trackers to what logs the training of a config, in place.

    Args:
        config: with its `work_dir`, and `resume` where the training goes on; one that begins forgets the runs before.
        names: of `TRACKERS`.
        experiment: what the run belongs to, such as the name of the config.
    """
    folder = Path(config.work_dir).resolve()
    if not config.get("resume") and os.environ.get("RANK", "0") == "0":
        (folder / NOTE).unlink(missing_ok=True)
    visualizer = dict(config.get("visualizer") or dict(type=Visualizer, vis_backends=[dict(type=LocalVisBackend)]))
    backends = list(visualizer.get("vis_backends") or ())
    for name in dict.fromkeys(names):
        added = TRACKERS[name](Run(experiment, folder.name, folder))
        backends = [each for each in backends if each["type"] is not added["type"]] + [added]
    config.visualizer = {**visualizer, "vis_backends": backends}


def _mlflow(run: Run) -> dict[str, Any]:
    return dict(
        type=MLflowBackend,
        save_dir=str(run.folder / STORE),
        exp_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", run.experiment),
        run_name=run.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"),
        note=str(run.folder / NOTE),
    )


def _wandb(run: Run) -> dict[str, Any]:
    note, folder = run.folder / NOTE, str(run.folder)
    known = noted(note).get("wandb") or uuid.uuid4().hex[:16]
    project = os.environ.get("WANDB_PROJECT", run.experiment)
    options = dict(project=project, name=run.name, id=known, resume="allow", dir=folder, allow_val_change=True)
    return dict(type=WandbBackend, save_dir=folder, init_kwargs=options, note=str(note))


def _neptune(run: Run) -> dict[str, Any]:
    offline = {} if "NEPTUNE_API_TOKEN" in os.environ else {"mode": "offline"}
    return dict(type=NeptuneVisBackend, init_kwargs=dict(name=run.name, tags=[run.experiment], **offline))


TRACKERS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "mlflow": _mlflow,
    "wandb": _wandb,
    "tensorboard": lambda run: dict(type=TensorboardVisBackend),
    "clearml": lambda run: dict(
        type=ClearMLVisBackend, init_kwargs=dict(project_name=run.experiment, task_name=run.name), artifact_suffix=()
    ),
    "neptune": _neptune,
    "aim": lambda run: dict(type=AimVisBackend, init_kwargs=dict(experiment=run.experiment, repo=str(run.folder))),
    "dvclive": lambda run: dict(type=DVCLiveVisBackend, artifact_suffix=()),
}
