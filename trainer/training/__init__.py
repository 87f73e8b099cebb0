"""A run: recipe, loop, checkpoints, and several processes as one."""
