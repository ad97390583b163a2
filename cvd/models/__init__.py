"""The networks, the augmentation, the backbones."""
