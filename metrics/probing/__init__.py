"""What asks the model: cases, probes, and the engine that answers them in full batches."""
