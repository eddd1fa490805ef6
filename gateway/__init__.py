"""Everything that touches the outside for receiving and storing; the composition root."""

VERSION = "0.1.0"
