"""A suite: the declaration of what is judged, and the things that its names stand for."""
