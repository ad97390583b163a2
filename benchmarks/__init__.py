"""Side-by-side timings, each printing ratios. `make bench` runs every bench_*.py."""
