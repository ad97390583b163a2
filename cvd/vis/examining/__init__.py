"""Whether heat maps mean something, in numbers: arrays in, figures out; no drawing."""
