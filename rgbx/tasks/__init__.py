"""Tasks: what a prediction is, from its target to its scores; one file each, found by name.

Every file of this package is imported, so that a new task is a new file.
"""

import importlib
import pkgutil

from rgbx._protocol import PROTOCOLS, Protocol
from rgbx.tasks.base import (
    ENSEMBLE,
    TASKS,
    Counter,
    Evaluation,
    Prediction,
    Target,
    Task,
    build_task,
    ensemble_first,
    find_task,
    task,
)
from rgbx.tasks.classes import Classes, ClassEvaluation
from rgbx.tasks.embedding import Embedding, RetrievalEvaluation
from rgbx.tasks.map import Map, MapEvaluation
from rgbx.tasks.score import Score
from rgbx.tasks.sums import SumTask

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "ENSEMBLE",
    "PROTOCOLS",
    "TASKS",
    "ClassEvaluation",
    "Classes",
    "Counter",
    "Embedding",
    "Evaluation",
    "Map",
    "MapEvaluation",
    "Prediction",
    "Protocol",
    "RetrievalEvaluation",
    "Score",
    "SumTask",
    "Target",
    "Task",
    "build_task",
    "ensemble_first",
    "find_task",
    "task",
]
