"""The files for Docker and Kubernetes: they can be read, and name what the project has."""

import re
from pathlib import Path
from typing import Any

import yaml

from stream.config import DATABASE_VARIABLE, NODE_VARIABLE, SITE_VARIABLE, TOKEN_VARIABLE
from stream.config.cluster import CLUSTER_URL_VARIABLE

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "cluster"
IMAGE = "facewire-cluster"


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))


def test_the_image_is_built_by_the_dockerfile():
    stages = (ROOT / "Dockerfile").read_text("utf-8")
    assert "FROM base AS cluster\n" in stages
    assert "FROM cuda AS cluster-cuda\n" in stages


def test_kuberay_names_the_version_of_ray_that_is_locked():
    (locked,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), re.M)
    assert read("kuberay.yaml")["spec"]["rayVersion"] == locked


def test_compose_starts_a_first_machine_its_database_and_others():
    found = read("compose.yaml")
    assert set(found["services"]) == {"database", "first", "machine"}
    assert set(found["volumes"]) == {"data", "database"}
    for name in ("first", "machine"):
        service = found["services"][name]
        assert service["image"] == IMAGE
        assert service["network_mode"] == "host"
        assert {DATABASE_VARIABLE, TOKEN_VARIABLE, SITE_VARIABLE} <= set(service["environment"])
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert CLUSTER_URL_VARIABLE in service["environment"]
        assert service["volumes"] == ["data:/data"]
    (command,) = found["services"]["first"]["command"]
    assert re.search(r"ray start --head .* && facewire cluster start --host ", command)


def test_kuberay_runs_one_service_on_a_node():
    found = read("kuberay.yaml")
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayCluster")
    head = found["spec"]["headGroupSpec"]
    (workers,) = found["spec"]["workerGroupSpecs"]
    for group in (head, workers):
        # the port of the page is facewire's own
        assert group["rayStartParams"]["metrics-export-port"] != "8080"
        pod = group["template"]["spec"]
        assert pod["hostNetwork"] is True
        (rule,) = pod["affinity"]["podAntiAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert rule["topologyKey"] == "kubernetes.io/hostname"
        (container,) = pod["containers"]
        assert container["image"] == IMAGE
        names = [each["name"] for each in container["env"]]
        assert {DATABASE_VARIABLE, TOKEN_VARIABLE, NODE_VARIABLE, "RAY_AUTH_TOKEN"} <= set(names)
        assert names.index("ADDRESS") < names.index(CLUSTER_URL_VARIABLE)
        port = int(group["rayStartParams"]["node-manager-port"])
        for probe in ("livenessProbe", "readinessProbe"):
            assert container[probe]["tcpSocket"]["port"] == port
        (owner,) = pod["initContainers"]
        assert owner["securityContext"]["runAsUser"] == 0
        assert owner["volumeMounts"] == container["volumeMounts"]
