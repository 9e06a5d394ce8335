"""A model behind a page and a JSON endpoint, on this machine."""
