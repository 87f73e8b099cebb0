"""Live frames in, annotated video and events out."""
