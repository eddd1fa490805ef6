"""Bytes to records and back: imports nothing of ours, does no I/O and reads no clock."""
