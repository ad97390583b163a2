"""Random changes of training images: moves, colours, erased patches, and pairs that are mixed."""
