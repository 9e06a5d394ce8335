"""Prepares a public dataset: python tools/prepare.py {nyudv2,cityscapes,mfnet} SOURCE OUT."""

from rgbx.cli.prepare import main

if __name__ == "__main__":
    raise SystemExit(main())
