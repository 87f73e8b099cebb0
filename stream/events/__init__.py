"""What happened in front of the cameras: the log and those who follow it."""
