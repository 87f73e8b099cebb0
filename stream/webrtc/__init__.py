"""WebRTC connections with viewers and senders."""
