"""The commands of `dozor`, one module each: `add_arguments(parser)` and `run(args) -> exit code`."""
