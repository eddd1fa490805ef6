"""Tickets in SQL: lists, actions, clocks."""
