"""The dataset families: declarations where the layout is folders, Python where it is not."""
