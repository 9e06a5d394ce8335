"""The adapters to mmengine's runner: checkpoints, hooks, optimizer, metric and pictures."""
