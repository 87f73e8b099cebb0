"""Recognition and camera events: the event log and its subscribers."""
