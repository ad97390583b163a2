"""From anywhere to one zip: folders, archives, downloads, or images that the project draws."""
