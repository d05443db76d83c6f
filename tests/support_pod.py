"""A pod of the chart without a cluster: its volumes as kubelet mounts them, in a folder in place of the root."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme
from support import KEY, Mounted
from support_helm import Json, Objects, exporter_container, pod_template
from support_tls import issue

Contents = Mapping[tuple[str, str], Mapping[str, str]]
"""Files of ConfigMaps and Secrets, by kind and name."""

AUTHORITY = trustme.CA()
SERVER = issue(AUTHORITY, "127.0.0.1")
CA = AUTHORITY.cert_pem.bytes().decode()
PASSWORD = "not-a-real-password"
WEB = """
tls_server_config:
  cert_file: /etc/cortex-xdr-exporter/tls/tls.crt
  key_file: /etc/cortex-xdr-exporter/tls/tls.key
  client_ca_file: /etc/cortex-xdr-exporter/tls/ca.crt
  client_auth_type: RequireAndVerifyClientCert
"""

EXISTING: Contents = {
    ("ConfigMap", "campaigns.soc"): {"more.yml": "[22519813685400]", "notes.txt": "no list"},
    ("ConfigMap", "corporate-ca"): {"ca.crt": CA},
    ("ConfigMap", "initech-actions"): {"laptops.json": "[22519813685401, 22519813685402]"},
    ("Secret", "acme-api-key"): {"token": KEY},
    ("Secret", "cortex-xdr-api-key"): {"key": KEY},
    ("Secret", "cortex-xdr-exporter-password"): {"username": "prometheus", "password": PASSWORD},
    ("Secret", "cortex-xdr-exporter-tls"): {"tls.crt": SERVER.certificate, "tls.key": SERVER.key, "ca.crt": CA},
    ("Secret", "exporter-web"): {"web-config.yml": WEB},
}
"""What the cases of the chart name, and somebody else makes."""


class Pod:
    """What an exporter in a pod sees of these objects, and of those that ``existing`` has beside the chart's.

    ``others`` are files that somebody else puts into the pod. Where a text or an argument names a place in the
    pod, it gets the one in the folder, unless the folder is going to be ``in_place``.
    """

    def __init__(
        self,
        objects: Objects,
        folder: Path,
        *,
        existing: Contents,
        others: Mapping[str, str] | None = None,
        in_place: bool = False,
    ) -> None:
        self.folder = folder
        self._root = "" if in_place else str(folder)
        self._existing = existing
        self._mounts = exporter_container(objects).get("volumeMounts", [])
        places = [*(mount["mountPath"] for mount in self._mounts), *(others or {})]
        self._places = re.compile("|".join(re.escape(place) for place in places) or r"\b\B")
        for place, text in (others or {}).items():
            path = self._path(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._mounted: dict[Path, Mounted] = {}
        self.update(objects)
        self.arguments = [self.led(argument) for argument in exporter_container(objects)["args"]]

    def led(self, text: str) -> str:
        """Return a text whose places in the pod are those in the folder."""
        return self._places.sub(lambda match: f"{self._root}{match[0]}", text)

    def _path(self, place: str) -> Path:
        return self.folder / place.removeprefix("/")

    def update(self, objects: Objects) -> None:
        """Have the volumes hold what these objects say: at the start, and when they change while the pod runs."""
        volumes = {volume["name"]: volume for volume in pod_template(objects)["spec"].get("volumes", [])}
        contents = {**self._existing, **_contents(objects)}
        for mount in self._mounts:
            path = self._path(mount["mountPath"])
            files = _files(volumes.get(mount["name"], {}), contents)
            if files is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            files = {name: self.led(text) for name, text in files.items()}
            if path in self._mounted:
                self._mounted[path].update(files)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._mounted[path] = Mounted(path, files)


def _contents(objects: Objects) -> Contents:
    contents: dict[tuple[str, str], Mapping[str, str]] = {}
    for (kind, name), one in objects.items():
        if kind == "ConfigMap":
            contents[kind, name] = one.get("data", {})
        elif kind == "Secret":
            contents[kind, name] = {key: base64.b64decode(value).decode() for key, value in one["data"].items()}
    return contents


def _files(volume: Json, contents: Contents) -> dict[str, str] | None:
    """Return the files of a volume; nothing where it is not made of objects."""
    match volume:
        case {"configMap": source}:
            return _picked("ConfigMap", source["name"], source, contents)
        case {"secret": source}:
            return _picked("Secret", source["secretName"], source, contents)
        case {"projected": {"sources": sources}}:
            files: dict[str, str] = {}
            for source in sources:
                files |= _picked("Secret", source["secret"]["name"], source["secret"], contents)
            return files
    return None


def _picked(kind: str, name: str, source: Mapping[str, Any], contents: Contents) -> dict[str, str]:
    content = contents[kind, name]
    if "items" not in source:
        return dict(content)
    return {item["path"]: content[item["key"]] for item in source["items"]}
