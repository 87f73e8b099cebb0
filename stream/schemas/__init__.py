"""JSON schemas of the API, and functions that convert results to them, one module per resource."""
