"""The watch: committed batches become the fleet's state, a tick becomes verdicts, verdicts become incidents."""
