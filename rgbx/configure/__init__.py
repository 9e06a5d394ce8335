"""A folder and a budget of time become a training: facts are read, steps are measured, every choice has its reason."""

from rgbx.configure.dry_run import DryRun
from rgbx.configure.facts import Data, DataError, Machine, Part, read_folder, this_machine
from rgbx.configure.planner import Choice, Costs, Plan, Trial, Weights, find_initial, plan_training
from rgbx.configure.writing import config_text, plan_record, summary

__all__ = [
    "Choice",
    "Costs",
    "Data",
    "DataError",
    "DryRun",
    "Machine",
    "Part",
    "Plan",
    "Trial",
    "Weights",
    "config_text",
    "find_initial",
    "plan_record",
    "plan_training",
    "read_folder",
    "summary",
    "this_machine",
]
