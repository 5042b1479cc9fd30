"""What holds for every test of the models."""

import torch

# Tensors this small gain nothing from threads, and on a busy machine lose ten times over by waiting for them.
torch.set_num_threads(1)
