"""Image files: their pixels, and whether the stored bytes are intact."""
