"""The [compreface] and [deepstack] tables of the configuration: APIs of other programs."""

from pydantic import Field

from stream.config.section import Section


class CompreFaceConfig(Section):
    """The [compreface] table."""

    enabled: bool = Field(
        False, description="answer clients of CompreFace, at /api/v1; their key is the token"
    )


class DeepStackConfig(Section):
    """The [deepstack] table."""

    enabled: bool = Field(
        False,
        description="answer clients of DeepStack and CodeProject.AI, at /v1/vision/face",
    )
