"""Who works on the spans of a run: this process, or several."""
