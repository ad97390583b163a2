"""What a filter looks for: gradient ascent in input space, and real patches that excite it."""
