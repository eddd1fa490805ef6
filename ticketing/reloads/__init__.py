"""Archives that are asked of terminals again: at night, in the order of requests, with an honest estimate (S2-26)."""
