"""What is wrong with the bytes handed to `dozor decode`."""


class HexError(ValueError):
    """The input is no hex; the message names line and column, both from 1."""
