"""ImageNet weights, fetched, checked and converted."""
