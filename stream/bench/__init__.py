"""What live recognition and search cost on this machine."""
