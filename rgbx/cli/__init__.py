"""What the console commands and the thin scripts in tools/ call."""
