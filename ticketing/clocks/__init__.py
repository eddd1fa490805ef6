"""Promised times: walked through working time, read from a ticket's journal, said in words."""
