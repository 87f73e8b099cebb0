"""What networks read from a crop: embeddings, gender and age."""
