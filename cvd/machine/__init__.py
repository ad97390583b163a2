"""What computes, in which precision, on how many threads."""
