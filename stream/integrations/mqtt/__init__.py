"""MQTT: the state of the service and its events at a broker, with Home Assistant's discovery."""
