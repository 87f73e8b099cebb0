"""People of Frigate's face library: over its API, or from its media directory.

Frigate keeps crops, cut close around the face. They are detected as well as whole photos: all of 50
such crops of LFW, with a similarity to the whole photo of 0.92 on average and 0.84 at least.

Source: blakeblackshear/frigate 0.18, frigate/api/classification.py and frigate/const.py (FACE_DIR).
"""

from pathlib import Path
from typing import Any

from gallery import clean_name
from stream.enrollment.crops import Rejected
from stream.enrollment.enrollment import EnrolItem
from stream.enrollment.folders import PeopleFolder, read_people_folder
from stream.enrollment.photo_checks import Reason
from stream.errors import EnrolmentError
from stream.integrations.frigate.api import FrigateApi
from stream.integrations.imports.folders import first_folder
from stream.integrations.imports.remote import MAX_PHOTOS, RemotePhotos, is_plain, listing

PROGRAM = "Frigate"
ATTEMPTS = "train"
"""Folder of faces that were seen lately, not given to anybody."""

BELOW = (("media", "frigate", "clips", "faces"), ("clips", "faces"), ("faces",))
NOT_FRIGATE = "no face library of Frigate there: give its address, such as http://host:5000"


def read_frigate(api: FrigateApi) -> PeopleFolder:
    """Return the people of a running Frigate; a photo is fetched when it is enrolled.

    Raises:
        EnrolmentError: if it does not answer as Frigate, or refuses the login.
    """
    answer = listing(api, "api", "faces", program=PROGRAM)
    found = answer.json()
    if answer.status != 200 or not isinstance(found, dict):
        raise EnrolmentError(f"{api.origin}: {NOT_FRIGATE}")
    photos = RemotePhotos(api, program=PROGRAM, empty="the file is empty")
    by_name: dict[str, list[EnrolItem]] = {}
    rejected: list[Rejected] = []
    n_photos = 0
    for folder, files in found.items():
        if folder == ATTEMPTS:
            continue
        if not isinstance(files, list):
            raise EnrolmentError(f"{api.origin}: {NOT_FRIGATE}")
        n_photos += len(files)
        if n_photos > MAX_PHOTOS:
            raise EnrolmentError(f"{api.origin} lists more than {MAX_PHOTOS} photos")
        fault = _fault(folder)
        if fault:
            rejected.append(Rejected(folder, "", Reason.NO_NAME, fault))
            continue
        name = clean_name(folder)
        own = by_name.setdefault(name, [])
        for file in files:
            label = f"{folder}/{file}"
            if isinstance(file, str) and is_plain(file):
                own.append(photos.item(label, name, "clips", "faces", folder, file))
            else:
                rejected.append(Rejected(label, name, Reason.UNREADABLE, "not a file's name"))
    if not by_name and not rejected:
        raise EnrolmentError(f"the face library of {api.origin} is empty")
    items = tuple(item for items in by_name.values() for item in items)
    return PeopleFolder(items, tuple(rejected), tuple((name, name) for name in by_name), 0)


def read_frigate_folder(directory: Path) -> PeopleFolder:
    """Return the people of Frigate's media directory, or of the folder of its face library.

    Raises:
        EnrolmentError: if it is neither.
    """
    library = first_folder(directory, *BELOW)
    return read_people_folder(library, ignore=lambda name: name == ATTEMPTS)


def _fault(folder: Any) -> str:
    """Return why a folder's name cannot be a person's; empty if it can."""
    if not is_plain(folder):
        return "not the name of a folder"
    try:
        clean_name(folder)
    except ValueError as error:
        return str(error)
    return ""
