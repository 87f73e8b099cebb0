"""HTTP authentication for cameras: basic, and digest with MD5, SHA-256 or SHA-512."""

import re
from collections.abc import Sequence

from httpx2 import Auth, BasicAuth, DigestAuth, ProtocolError, Request, Response

# Best first, RFC 7616 section 3.2. A challenge without an algorithm means MD5.
ALGORITHMS = ("SHA-512", "SHA-512-SESS", "SHA-256", "SHA-256-SESS", "MD5", "MD5-SESS")

# One header may hold several challenges.
CHALLENGES = re.compile(r",\s*(?=(?:basic|digest)\b)", re.IGNORECASE)
ALGORITHM = re.compile(r'\balgorithm\s*=\s*"?([\w-]+)', re.IGNORECASE)


class WebLogin:
    """Signs requests by the scheme of a camera's last challenge, without a new challenge.

    Args:
        user: user name.
        password: password.
    """

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password
        self._auth: Auth = Auth()

    def sign(self, request: Request) -> None:
        """Add the credentials by the scheme of the last challenge, if there was one."""
        next(self._auth.sync_auth_flow(request))

    def answer(self, request: Request, challenges: Sequence[str]) -> bool:
        """Sign a refused request; return whether the scheme is supported.

        Args:
            request: to be sent again.
            challenges: the response's WWW-Authenticate headers.

        Returns:
            Whether a challenge has a supported scheme.
        """
        asked = [each for header in challenges for each in CHALLENGES.split(header)]
        digests = {
            (match[1].upper() if (match := ALGORITHM.search(each)) else "MD5"): each.strip()
            for each in asked
            if each.strip().lower().startswith("digest")
        }
        for algorithm in ALGORITHMS:
            if algorithm in digests:
                self._auth = DigestAuth(self._user, self._password)
                flow = self._auth.sync_auth_flow(request)
                next(flow)
                headers = {"www-authenticate": digests[algorithm]}
                try:
                    flow.send(Response(401, headers=headers, request=request))
                except (ProtocolError, ValueError, StopIteration):
                    continue  # damaged, or an unknown quality of protection
                return True
        if any(each.strip().lower().startswith("basic") for each in asked):
            self._auth = BasicAuth(self._user, self._password)
            self.sign(request)
            return True
        return False
