"""Frigate's HTTP API: port 5000 without a login, port 8971 with one.

Source: blakeblackshear/frigate 0.18, frigate/api/{auth,event,classification}.py.
"""

import re
import threading
from collections.abc import Mapping
from typing import Any

from stream.config import FRIGATE_PASSWORD_VARIABLE, FRIGATE_USER_VARIABLE
from stream.http_address import parse_http_address
from stream.integrations.http_api import (
    DEADLINE_S,
    MAX_JSON,
    HttpAnswer,
    HttpApi,
    HttpApiError,
)

JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)

LOGIN_ADVICE = (
    f"give {FRIGATE_USER_VARIABLE} and {FRIGATE_PASSWORD_VARIABLE} of a Frigate user with the role "
    "admin, or the address of port 5000"
)


class FrigateLoginError(HttpApiError):
    """Raised when Frigate refuses the user, the password or the token."""


class FrigateApi(HttpApi):
    """Frigate's HTTP API, with the login that port 8971 asks for.

    Args:
        url: of Frigate, such as http://frigate:5000; a user and password in it are the login.
        user: user of Frigate; empty for none.
        password: of that user.
        token: a JSON Web Token of Frigate in place of user and password.
        verify_tls: check the certificate of https; Frigate makes a self-signed one.
        deadline_s: seconds for one request.

    Raises:
        ValueError: if the address is invalid; the message never contains it.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: str = "",
        token: str = "",
        verify_tls: bool = True,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        address = parse_http_address(url)
        self._user, self._password = user or address.username, password or address.password
        self._token = token
        self._lock = threading.Lock()
        path = re.sub(r"/+(api/*)?$", "", address.path) or "/"
        super().__init__(
            address.copy_with(userinfo=b"", path=path),
            # Frigate asks for it wherever a browser might have been misled.
            headers={"X-CSRF-TOKEN": "1"},
            verify_tls=verify_tls,
            deadline_s=deadline_s,
        )

    def request(
        self,
        method: str,
        *path: str,
        params: Mapping[str, str | int] | None = None,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        most: int = MAX_JSON,
    ) -> HttpAnswer:
        """Return the answer to a request, after a login if Frigate asks for one.

        Raises:
            FrigateLoginError: if it refuses the login.
            HttpApiError: if there is no answer in time, or a larger one.
        """
        token = self._token
        answer = self._ask(token, method, *path, params=params, content=content, most=most)
        if answer.status == 401 and self._user:
            token = self._log_in(token)
            answer = self._ask(token, method, *path, params=params, content=content, most=most)
        if answer.status in {401, 403}:
            refused = "refuses the login" if token else "asks for a login"
            raise FrigateLoginError(f"{self.origin} {refused}: {LOGIN_ADVICE}")
        return answer

    def _ask(self, token: str, method: str, *path: str, **options: Any) -> HttpAnswer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return super().request(method, *path, headers=headers, **options)

    def _log_in(self, refused: str) -> str:
        """Return a token for the user, unless another thread just got one."""
        with self._lock:
            if self._token != refused:
                return self._token
            login = {"user": self._user, "password": self._password}
            answer = super().request("POST", "api", "login", content=login)
            if answer.status in {400, 401, 403, 422, 429}:
                raise FrigateLoginError(f"{self.origin} refuses the login: {LOGIN_ADVICE}")
            # The name of the cookie is a setting of Frigate's.
            tokens = [value for value in answer.cookies.values() if JWT.fullmatch(value)]
            if answer.status != 200 or not tokens:
                raise HttpApiError(f"{self.origin} has no login of Frigate: give its address")
            self._token = tokens[0]
            return self._token
