"""What is wrong with a source: people's corrections, and faults that are planted to see who finds them."""
