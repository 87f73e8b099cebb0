"""Rules: which events are notified, to whom, and when."""
