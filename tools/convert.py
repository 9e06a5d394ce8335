"""Converts a checkpoint of another project: python tools/convert.py asymfusion IN OUT [--trust]."""

from rgbx.cli.convert import main

if __name__ == "__main__":
    raise SystemExit(main())
