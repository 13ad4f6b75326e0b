"""Image files: decoding, and checks of the stored bytes for damage."""
