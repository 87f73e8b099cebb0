"""CompreFace's terms for what facewire knows: similarities, ids of images, faces."""
