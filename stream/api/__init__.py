"""The HTTP API, its WebSocket, and who may use them."""
