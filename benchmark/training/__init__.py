"""Training: any network for the classes of a data set, and the networks that ship."""
