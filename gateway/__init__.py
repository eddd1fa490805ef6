"""Everything that touches the outside for receiving and storing; the composition root."""
