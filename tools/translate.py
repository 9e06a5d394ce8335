"""Translates: python tools/translate.py CONFIG CHECKPOINT --input rgb=a.png depth=b.png --out c.png."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("translate"))
