"""One network trained by several devices or processes."""
