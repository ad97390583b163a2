"""What networks are made of: heads, backbones, layers, saving."""
