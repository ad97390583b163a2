"""The page that tells the whole story."""
