"""Sockets, sessions, batches, commit, ack."""
