"""Packaging that pyproject.toml cannot express: configs/ travels as rgbx.configs, data/samples/ as rgbx.samples, and
what `rgbx models` lists as rgbx.results; the kernels are optional.

The kernels are built where torch is importable here (`pip install --no-build-isolation`) and a compiler is found;
without them rgbx runs on plain torch. `rgbx/ops/build.py` says how, and reads RGBX_BUILD_CUDA.
"""

import importlib.util
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext


def load_builder():
    """rgbx/ops/build.py, without importing rgbx, whose requirements need not be there yet."""
    spec = importlib.util.spec_from_file_location("rgbx_build", Path(__file__).parent / "rgbx/ops/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildKernels(build_ext):
    """Compiles each kernel library to rgbx/ops/librgbx_<device>.so; says in one sentence what it does not build."""

    def get_ext_filename(self, fullname):
        return f"{fullname.replace('.', '/')}.so"

    def run(self):
        builder = load_builder()
        folder = Path(__file__).parent if self.inplace else Path(self.build_lib)
        for sentence in builder.build_all(folder.resolve() / "rgbx/ops"):
            self.announce(f"rgbx: {sentence}", level=3)


if importlib.util.find_spec("torch") is None and load_builder().wanted_cuda() == "1":
    raise SystemExit("RGBX_BUILD_CUDA=1 needs torch where rgbx is built: pip install --no-build-isolation")
has_torch = importlib.util.find_spec("torch") is not None
kernels = [Extension("rgbx.ops.librgbx_cpu", ["rgbx/ops/csrc/exchange_cpu.cpp"], optional=True)] if has_torch else []

setup(
    packages=[*find_packages(include=["rgbx", "rgbx.*"]), "rgbx.configs", "rgbx.samples", "rgbx.results"],
    package_dir={"rgbx.configs": "configs", "rgbx.samples": "data/samples", "rgbx.results": "benchmarks/results"},
    include_package_data=False,  # or all that MANIFEST.in lets into the sdist would go into the wheel
    package_data={
        "rgbx": ["py.typed"],
        "rgbx.report": ["*.css", "*.js"],
        "rgbx.serve": ["*.css", "*.html", "*.js", "*.json"],
        "rgbx.ops": ["csrc/*"],
        "rgbx.configs": ["**/*.py"],
        "rgbx.results": ["models.json", "models/*.json"],
        "rgbx.samples": ["*.toml", "*.txt", "*.pth", "*/*.png"],
    },
    ext_modules=kernels,
    cmdclass={"build_ext": BuildKernels},
)
