"""Converts a checkpoint of another project: python tools/convert.py asymfusion IN OUT [--trust]."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("convert"))
