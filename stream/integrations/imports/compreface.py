"""People of a CompreFace recognition service.

Source: exadel-inc/CompreFace 1.2, trainservice/controller/{SubjectController,EmbeddingController}.
"""

import re
from collections.abc import Iterator
from typing import Any

from gallery import clean_name
from stream.enrollment.crops import Rejected
from stream.enrollment.enrollment import EnrolItem
from stream.enrollment.folders import PeopleFolder
from stream.enrollment.photo_checks import Reason
from stream.errors import EnrolmentError
from stream.http_address import parse_http_address
from stream.integrations.http_api import HttpAnswer, HttpApi
from stream.integrations.imports.remote import MAX_PHOTOS, RemotePhotos, listing

PROGRAM = "CompreFace"
PAGE = 100
API = ("api", "v1", "recognition")
EMPTY = "compreface keeps no image of it, only its embedding: add the photo itself"
IMAGE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")

KEY_ADVICE = "copy the key of a Recognition service from its applications page"
NOT_COMPREFACE = "no CompreFace API there: give the address of its page, such as http://host:8000"


def open_compreface(url: str, key: str, *, verify_tls: bool = True) -> HttpApi:
    """Return the API of a CompreFace service.

    Args:
        url: of its page, or of its API.
        key: of a recognition service.
        verify_tls: check the certificate of https.

    Raises:
        EnrolmentError: if the address or the key cannot be one.
    """
    try:
        address = parse_http_address(url)
    except ValueError as error:
        raise EnrolmentError(f"the address of {PROGRAM} {error}") from None
    if not key or not key.isascii() or not key.isprintable() or key != key.strip():
        raise EnrolmentError(f"that is no key of {PROGRAM}: {KEY_ADVICE}")
    path = re.sub(r"/+(api(/v1)?(/recognition)?/*)?$", "", address.path)
    return HttpApi(
        address.copy_with(path=path or "/"), headers={"x-api-key": key}, verify_tls=verify_tls
    )


def read_compreface(api: HttpApi) -> PeopleFolder:
    """Return the subjects and their examples; an example is fetched when it is enrolled.

    Raises:
        EnrolmentError: if the service does not answer as CompreFace, or refuses the key.
    """
    photos = RemotePhotos(api, program=PROGRAM, empty=EMPTY)
    by_name: dict[str, list[EnrolItem]] = {}
    rejected: list[Rejected] = []
    for subject in _subjects(api):
        try:
            by_name.setdefault(clean_name(subject), [])
        except ValueError as error:
            rejected.append(Rejected(f"subject {subject}", "", Reason.NO_NAME, str(error)))
    for subject, image_id in _examples(api):
        label = f"{subject}/{image_id}"
        if not IMAGE_ID.fullmatch(image_id):
            rejected.append(Rejected(label, "", Reason.UNREADABLE, "not an id of an image"))
            continue
        try:
            name = clean_name(subject)
        except ValueError:
            continue  # listed with the subjects
        path = (*API, "faces", image_id, "img")
        by_name.setdefault(name, []).append(photos.item(label, name, *path))
    if not by_name and not rejected:
        raise EnrolmentError(f"{api.origin} has no subjects: {KEY_ADVICE}")
    items = tuple(item for items in by_name.values() for item in items)
    return PeopleFolder(items, tuple(rejected), tuple((name, name) for name in by_name), 0)


def _subjects(api: HttpApi) -> list[str]:
    """Return the names of all subjects, also of those without an example."""
    answer = listing(api, *API, "subjects", program=PROGRAM)
    names = _checked(api, answer).get("subjects")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise EnrolmentError(f"{api.origin}: {NOT_COMPREFACE}")
    return names


def _examples(api: HttpApi) -> Iterator[tuple[str, str]]:
    """Yield subject and image id of each example, page by page."""
    seen: set[str] = set()
    for page in range(MAX_PHOTOS):
        answer = listing(api, *API, "faces", program=PROGRAM, params={"page": page, "size": PAGE})
        found = _checked(api, answer)
        faces = found.get("faces")
        if not isinstance(faces, list):
            raise EnrolmentError(f"{api.origin}: {NOT_COMPREFACE}")
        new = 0
        for face in faces:
            subject, image_id = _example(api, face)
            if image_id not in seen:
                seen.add(image_id)
                new += 1
                yield subject, image_id
        if len(seen) > MAX_PHOTOS:
            raise EnrolmentError(
                f"{api.origin} lists more than {MAX_PHOTOS} examples: import subjects apart"
            )
        pages = found.get("total_pages")
        if not new or not isinstance(pages, int) or page + 1 >= pages:
            total = found.get("total_elements")
            if isinstance(total, int) and total > len(seen):
                raise EnrolmentError(
                    f"{api.origin} lists {len(seen)} of {total} examples: nobody may change them "
                    "meanwhile; try again"
                )
            return


def _example(api: HttpApi, face: Any) -> tuple[str, str]:
    match face:
        case {"subject": str(subject), "image_id": str(image_id)}:
            return subject, image_id
    raise EnrolmentError(f"{api.origin}: {NOT_COMPREFACE}")


def _checked(api: HttpApi, answer: HttpAnswer) -> dict[str, Any]:
    """Return the object of an answer, or say which refusal of CompreFace it is."""
    found = answer.json()
    given = found.get("code") if isinstance(found, dict) else None
    code = given if isinstance(given, int) else None
    if answer.status == 200 and isinstance(found, dict):
        return found
    # Source of the codes: CommonExceptionCode.java of CompreFace's common service.
    if code in {10, 20, 26} or answer.status in {401, 403}:
        raise EnrolmentError(f"{api.origin} refuses the key: {KEY_ADVICE}")
    if 300 <= answer.status < 400:
        raise EnrolmentError(
            f"{api.origin} sends to another address ({answer.status}): give that one"
        )
    if answer.status >= 500 or code is not None:
        raise EnrolmentError(f"{api.origin} answers {answer.status}: see the log of {PROGRAM}")
    raise EnrolmentError(f"{api.origin}: {NOT_COMPREFACE}")
