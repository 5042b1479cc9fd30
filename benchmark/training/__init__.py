"""Training the networks that ship."""
