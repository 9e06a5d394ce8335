"""What a model takes: parameters, operations, memory, time."""
