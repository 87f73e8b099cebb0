"""What is answered as JSON: the one place where results become dicts, a module for each thing."""
