"""Sources of frames: cameras, files and browsers; their state and settings."""
