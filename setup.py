"""Packaging that pyproject.toml cannot express: the top-level configs/ travel in the wheel as rgbx.configs."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["rgbx", "rgbx.*"]), "rgbx.configs"],
    package_dir={"rgbx.configs": "configs"},
    package_data={"rgbx": ["py.typed"], "rgbx.configs": ["**/*.py"]},
)
