"""Training: one device or several, kept after each epoch, the same bits every time."""
