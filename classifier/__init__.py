"""What a cell is to a machine: pixels in, probabilities out."""

import os

# Read when NumPy is imported. Its products here are small, and several threads of the engine ask
# for them at once: divided among the cores, each took ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
