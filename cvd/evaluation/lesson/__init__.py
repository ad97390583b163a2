"""What the variants teach together: more images, one cure at a time, and searches."""
