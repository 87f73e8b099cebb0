"""The demo camera: people who walk through a drawn room."""
