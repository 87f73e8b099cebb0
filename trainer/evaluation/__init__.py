"""How well embeddings tell people apart, and pictures of it."""
