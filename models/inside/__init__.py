"""Looking into a network: what it computes, its attention, its curvature, and what it is without a channel."""
