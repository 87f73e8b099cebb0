"""The page behind common nginx setups: it works, or reports what the proxy lacks."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.harness import (
    PATIENCE_S,
    await_picture,
    chromium,
    open_page,
    require,
    require_chromium,
    service,
)
from tests.ports import HeldPort

pytestmark = pytest.mark.e2e

TOKEN = "correct horse battery"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

UPGRADE = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade";'
)
PLAIN = "proxy_pass http://127.0.0.1:{port};"

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
(ADVISED,) = re.findall(r"^```nginx\n((?:.*\n)*?)```$", README, re.MULTILINE)

# Contents of nginx's location, path of the page, and the page's message; "" if all works.
SET_UPS = {
    "as README advises": (
        "location / {{ " + ADVISED.replace("8080", "{port}").replace("\n", " ") + " }}",
        "/",
        "",
    ),
    "nothing": ("location / {{ " + PLAIN + " }}", "/", "Host $http_host"),
    "no host": ("location / {{ " + PLAIN + UPGRADE + " }}", "/", "Host $http_host"),
    "no upgrade": (
        "location / {{ " + PLAIN + "proxy_set_header Host $http_host; }}",
        "/",
        "pass on WebSocket",
    ),
    "host without its port": (
        "location / {{ " + PLAIN + UPGRADE + "proxy_set_header Host $host; }}",
        "/",
        "",
    ),
    "host with the server's port": (
        "location / {{ " + PLAIN + UPGRADE + "proxy_set_header Host $host:$server_port; }}",
        "/",
        "",
    ),
    "host as it comes": (
        "location / {{ " + PLAIN + UPGRADE + "proxy_set_header Host $http_host; }}",
        "/",
        "",
    ),
    "sub-path taken off": (
        "location /faces/ {{ proxy_pass http://127.0.0.1:{port}/;"
        + UPGRADE
        + "proxy_set_header Host $http_host; }}",
        "/faces/",
        "",
    ),
    "sub-path left on": (
        "location /faces/ {{ "
        + PLAIN
        + UPGRADE
        + "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Prefix /faces; }}",
        "/faces/",
        "",
    ),
}


class Proxied:
    """The service behind one nginx with a port for each set-up."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports

    def url(self, set_up: str) -> str:
        return f"http://127.0.0.1:{self._ports[set_up]}{SET_UPS[set_up][1]}"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    require_chromium()
    require("" if Path(NGINX).exists() else "no nginx: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    config = folder / "facewire.toml"
    config.write_text('[server]\nforwarded_allow_ips = ["127.0.0.1"]\n')
    with ExitStack() as held:
        running = held.enter_context(
            service("proxies", folder / "data", f"--config={config}", token=TOKEN)
        )
        ports = {name: held.enter_context(HeldPort()).port for name in (*SET_UPS, "another name")}
        upstream = running.url.rsplit(":", 1)[1].rstrip("/")
        servers = [
            f"server {{ listen 127.0.0.1:{ports[name]}; {location.format(port=upstream)} }}"
            for name, (location, _, _) in SET_UPS.items()
        ]
        servers.append(
            f"upstream facewire.internal {{ server 127.0.0.1:{upstream}; }} server {{ listen "
            f"127.0.0.1:{ports['another name']}; location / {{ proxy_pass "
            "http://facewire.internal; } }"
        )
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind}; "
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = (
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; "
            f"events {{ worker_connections 256; }} http {{ access_log off; {paths}\n"
            + "\n".join(servers)
            + "\n}\n"
        )
        (folder / "nginx.conf").write_text(text)
        process = subprocess.Popen([NGINX, "-p", str(folder), "-c", f"{folder}/nginx.conf"])
        try:
            yield Proxied(ports)
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_chromium()
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("set_up", SET_UPS)
def test_the_page_works_or_says_what_the_proxy_lacks(
    proxied: Proxied, browser: Browser, set_up: str
) -> None:
    says = SET_UPS[set_up][2]
    page = open_page(browser, proxied.url(set_up))
    page.get_by_label("Token").fill(TOKEN)
    with page.expect_navigation():
        page.locator("#token-form [type=submit]").click()
    if says:
        expect(page.locator("#refusal")).to_contain_text(says)
    else:
        expect(page.locator("#link-text")).to_have_text("Connected")
        expect(page.locator("#refusal")).to_be_hidden()
        await_picture(page)
        page.evaluate("location.hash = '#/settings'")
        with page.expect_navigation():
            page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
    page.context.close()


def test_a_name_that_nobody_allowed_is_explained_to_people_and_programs(proxied: Proxied) -> None:
    url = f"http://127.0.0.1:{proxied._ports['another name']}/"
    for accept, kind in (("text/html,*/*", "text/html"), ("*/*", "application/json")):
        with pytest.raises(HTTPError) as caught:
            urlopen(Request(url, headers={"accept": accept}), timeout=PATIENCE_S)
        with caught.value as error:
            body = error.read().decode()
            assert (error.code, error.headers.get_content_type()) == (421, kind)
        assert "facewire.internal" in body
        assert "allowed_hosts" in body


def test_addresses_in_answers_stay_below_the_sub_path(proxied: Proxied) -> None:
    url = f"{proxied.url('sub-path left on')}api/cameras"
    body = json.dumps({"name": "yard", "url": "yard.mp4", "enabled": False}).encode()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    with urlopen(Request(url, body, headers, method="POST"), timeout=PATIENCE_S) as answer:
        assert answer.headers["location"] == "/faces/api/cameras/yard"
