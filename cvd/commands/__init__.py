"""The commands of `cvd`, a module each: what may be typed, and what is then done."""
