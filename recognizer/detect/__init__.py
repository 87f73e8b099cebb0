"""Finds faces: the three networks of MTCNN, landmarks, and which way up a photo is."""
