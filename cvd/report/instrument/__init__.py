"""The parts of the page that answer to a touch: curves, the wall of test images and their map; readable without it."""
