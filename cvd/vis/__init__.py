"""What a network sees: arrays in, arrays out; drawing apart from numerics."""
