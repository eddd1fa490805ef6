"""A policy played before it is signed: the desk itself on a virtual clock, by a script or a month made up."""
