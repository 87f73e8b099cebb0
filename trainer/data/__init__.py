"""Face sets, pairs and photos: read, written, checked, and loaded in batches."""
