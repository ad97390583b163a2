"""From untrusted bytes to split images, nothing lost."""
