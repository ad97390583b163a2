"""Networks trained from nothing, a module each."""
