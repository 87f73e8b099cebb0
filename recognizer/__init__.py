"""Images in, faces out."""
