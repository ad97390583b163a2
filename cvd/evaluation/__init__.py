"""Measuring networks and holding them against one another, from their predictions: no TensorFlow."""
