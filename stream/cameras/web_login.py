"""HTTP authentication as cameras ask for it: basic, and digest with MD5, SHA-256 or SHA-512."""

import re
from collections.abc import Sequence

from httpx2 import Auth, BasicAuth, DigestAuth, ProtocolError, Request, Response

# From the best, RFC 7616 section 3.2. A challenge without an algorithm means MD5.
ALGORITHMS = ("SHA-512", "SHA-512-SESS", "SHA-256", "SHA-256-SESS", "MD5", "MD5-SESS")

# One header may hold several challenges.
CHALLENGES = re.compile(r",\s*(?=(?:basic|digest)\b)", re.IGNORECASE)
ALGORITHM = re.compile(r'\balgorithm\s*=\s*"?([\w-]+)', re.IGNORECASE)


class WebLogin:
    """Signs requests in the way a camera asked for, without being asked again where that is known.

    Args:
        user: user name.
        password: password.
    """

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password
        self._auth: Auth = Auth()

    def sign(self, request: Request) -> None:
        """Add the password in the way that was last asked for, if it was."""
        next(self._auth.sync_auth_flow(request))

    def answer(self, request: Request, challenges: Sequence[str]) -> bool:
        """Sign a request that was refused.

        Args:
            request: to be sent again.
            challenges: the answer's WWW-Authenticate headers.

        Returns:
            Whether a way that is known here was asked for.
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
                    continue  # damaged, or a quality of protection that is not known
                return True
        if any(each.strip().lower().startswith("basic") for each in asked):
            self._auth = BasicAuth(self._user, self._password)
            self.sign(request)
            return True
        return False
