"""How a network runs fast: setup, tuning, folding, memory, and the counting of calls."""
