"""Renders synthetic rooms to disk: python tools/render_rooms.py OUT --train 600 --test 200."""

from rgbx.cli.render_rooms import main

if __name__ == "__main__":
    main()
