"""The commands of `facewire`, a module for each subject."""
