"""`python -m rgbx`: the command `rgbx`."""

from rgbx.cli.main import main

raise SystemExit(main())
