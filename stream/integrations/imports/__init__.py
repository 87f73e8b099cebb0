"""People of other programs, read as photos to be enrolled."""
