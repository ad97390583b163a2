"""What a network can bear: images shifted, turned, brightened, blurred, or before other backgrounds."""
