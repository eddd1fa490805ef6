"""Committed records, passed on to others: a cursor a consumer, in a process of its own."""
