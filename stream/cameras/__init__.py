"""Where frames come from: cameras, files, browsers; their state and settings."""
