"""A local page: drop a photo, see what every network makes of it. Nothing is kept, nothing comes from elsewhere."""
