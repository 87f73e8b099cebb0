"""Photo files and uploads: bytes in, RGB out."""
