"""The manifest of the images, and their pixels by the one resize rule."""
