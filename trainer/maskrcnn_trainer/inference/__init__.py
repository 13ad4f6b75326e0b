"""Detection in directories of images."""
