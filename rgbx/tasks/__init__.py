"""Tasks: what a prediction is, from its target to its scores."""

from rgbx.tasks.base import (
    ENSEMBLE,
    TASKS,
    Counter,
    Evaluation,
    Prediction,
    Target,
    Task,
    build_task,
    find_task,
    task,
)
from rgbx.tasks.classes import Classes, ClassEvaluation
from rgbx.tasks.map import Map, MapEvaluation
from rgbx.tasks.protocol import PROTOCOLS, Protocol, find_protocol
from rgbx.tasks.score import Score
from rgbx.tasks.sums import SumTask

__all__ = [
    "ENSEMBLE",
    "PROTOCOLS",
    "TASKS",
    "ClassEvaluation",
    "Classes",
    "Counter",
    "Evaluation",
    "Map",
    "MapEvaluation",
    "Prediction",
    "Protocol",
    "Score",
    "SumTask",
    "Target",
    "Task",
    "build_task",
    "find_protocol",
    "find_task",
    "task",
]
