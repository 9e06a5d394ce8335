"""Training by mmengine's runner: resuming, checkpoints, optimizers, hooks."""
