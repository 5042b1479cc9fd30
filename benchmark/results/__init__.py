"""What a run stored, and what its numbers say."""
