"""What becomes of a connection to a broker for which nobody waits any more."""

import asyncio
import gc
from typing import Any

import aiomqtt

from stream.config import MqttConfig
from stream.integrations.mqtt.connection import open_client


def test_a_connection_that_ends_after_it_was_given_up_is_no_error() -> None:
    async def give_up() -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
        config = MqttConfig.model_validate({"url": "mqtt://127.0.0.1:1883"})
        client = open_client(config, identifier="test")
        for future in (client._connected, client._disconnected):
            future.set_exception(aiomqtt.MqttCodeError(128, "Unexpected disconnection"))
        await asyncio.sleep(0)
        del client, future
        gc.collect()
        return errors

    assert asyncio.run(give_up()) == []
