"""Where a network looks and why: arrays in, arrays out; no drawing."""
