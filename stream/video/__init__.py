"""Annotated video: drawing, encoding, and packets for every viewer."""
