"""Prepares a public dataset: python tools/prepare.py {nyudv2,cityscapes,mfnet} SOURCE OUT."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("prepare"))
