"""The dataset doctor: reads a sample of a dataset and says what is wrong with it."""

from rgbx.doctor.diagnosis import Diagnosis, diagnose
from rgbx.doctor.finding import Finding
from rgbx.doctor.report import text_report

__all__ = ["Diagnosis", "Finding", "diagnose", "text_report"]
