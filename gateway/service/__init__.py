"""The running service: built in order, supervised, reloaded, stopped in reverse."""
