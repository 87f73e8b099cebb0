"""The verbs of the command `facewire`, by what they are about."""
