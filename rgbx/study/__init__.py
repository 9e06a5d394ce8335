"""Studies: a grid of methods and seeds, trained with one budget and told in one table."""

from rgbx.study.declaration import Study, declare_study

__all__ = ["Study", "declare_study"]
