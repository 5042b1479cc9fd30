"""How a network runs fast: setup, folding, memory, and the counting of calls."""
