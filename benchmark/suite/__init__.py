"""What to judge with what on what: the declaration, and the things that its names stand for."""
