"""Results in the forms in which people publish them."""
