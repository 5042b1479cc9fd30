"""Looking into a network: what it computes, its attention, its curvature, and what it gives without a channel."""
