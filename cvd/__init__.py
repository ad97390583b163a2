"""Dogs vs. Cats: what over-fitting is, what cures it, and what a convolutional network sees."""
