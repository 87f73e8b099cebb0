"""Video by way of an SFU: each camera is sent to it once, and it serves the viewers."""
