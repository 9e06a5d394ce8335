"""Renders synthetic rooms to disk: python tools/render_rooms.py OUT --train 600 --test 200."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("render-rooms"))
