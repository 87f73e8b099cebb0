"""Boxes, scaled copies, alignment, and the quality that follows from them."""
