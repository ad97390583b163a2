"""What a filter looks for: gradient ascent in input space."""
