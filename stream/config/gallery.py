"""The [gallery] table of the configuration."""

from pathlib import Path

from pydantic import Field, field_validator

from gallery import GalleryError
from gallery.address import is_address, shown
from stream.config.section import Section

DATABASE_VARIABLE = "FACEWIRE_DATABASE"


class GalleryConfig(Section):
    """The [gallery] table."""

    directory: Path | None = Field(
        None, description="directory of people and events; in the user's data directory unless set"
    )

    database: str = Field(
        "",
        repr=False,
        description="address of a PostgreSQL database, postgresql://USER@HOST/DATABASE, with the "
        "people of several machines; in the directory unless set; from the environment: "
        f"{DATABASE_VARIABLE}",
    )

    @field_validator("database")
    @classmethod
    def _is_a_database(cls, database: str) -> str:
        if database and not is_address(database):
            raise ValueError("must be postgresql://USER@HOST/DATABASE")
        try:
            shown(database)
        except GalleryError as error:
            raise ValueError(str(error)) from error
        return database

    @field_validator("directory", mode="before")
    @classmethod
    def _directory_has_a_name(cls, directory: object) -> object:
        if directory == "" or "\x00" in str(directory):
            raise ValueError("must be the path of a directory")
        return directory

    threshold: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="similarity from which a face is a match; the gallery's own unless set",
    )
    shards: int = Field(
        0,
        ge=0,
        le=1_000,
        description="processes of a cluster among which the people are divided, for more than one "
        "machine can search; with 0, each service holds all; read by facewire cluster start",
    )
    margin: float | None = Field(
        None,
        ge=0,
        le=1,
        description="similarity by which the best identity must lead; the model's unless set",
    )
