"""Letters to clients: whom they go to, what they say, and that each arrives once."""
