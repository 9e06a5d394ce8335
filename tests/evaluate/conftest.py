from runner_of_tiny import make_runner  # noqa: F401
