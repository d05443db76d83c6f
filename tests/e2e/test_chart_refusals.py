"""Values that the chart refuses, each with what is said: by its schema, and by its guard-rails."""

import re

import pytest
from support_helm import CHART, Json, helm, refusal, render

pytestmark = pytest.mark.needs("helm")

API: Json = {"url": "https://api-acme.xdr.us.paloaltonetworks.com", "key_id": 7}
KEYS: Json = {"default": {"existingSecret": "cortex-xdr"}}
TENANT: Json = {"config": {"api": API}, "apiKeys": KEYS}
TENANTS: Json = {
    "config": {"tenants": [{"name": "acme", "api": API}, {"name": "globex", "api": API}]},
    "apiKeys": {"acme": {"existingSecret": "acme"}, "globex": {"existingSecret": "globex"}},
}
CLIENTS: Json = {"name": "web", "tls": True, "clientCertificates": True}
TOO_LARGE = 2**53 + 1

GUARDED: list[tuple[str, Json, list[str]]] = [
    (
        "no tenant",
        {"apiKeys": KEYS, "actionLists": {"default": {}}, "shards": 2, "persistence": {"enabled": True}},
        [
            f"{key}: needs config.api or config.tenants: without, the exporter runs against a simulated tenant"
            for key in ("actionLists", "apiKeys", "persistence.enabled", "shards")
        ],
    ),
    (
        "simulated tenant and another one",
        {**TENANT, "demo": True},
        ["demo: does not go with config: the exporter polls either"],
    ),
    (
        "one tenant and several",
        {"config": {**TENANT["config"], **TENANTS["config"]}, "apiKeys": {**KEYS, **TENANTS["apiKeys"]}},
        ["config.tenants: does not go with config.api: make that one of the tenants"],
    ),
    ("no api", {"config": {"poll": {}}}, ["config.api: is missing (or config.tenants, a list of several)"]),
    (
        "tenant that is none",
        {
            **TENANTS,
            "apiKeys": {**TENANTS["apiKeys"], "initech": {"value": "not-a-real-key"}},
            "actionLists": {"initech": {}},
        },
        [
            "actionLists.initech: is no tenant of config: there is acme, globex",
            "apiKeys.initech: is no tenant of config: there is acme, globex",
        ],
    ),
    (
        "numbers that Helm would change",
        {
            "config": {"api": API, "actions": [str(TOO_LARGE), TOO_LARGE, {"id": TOO_LARGE}]},
            "apiKeys": KEYS,
            "actionLists": {"default": {"lists": {"more": [1, {"id": 2, "labels": {"ticket": TOO_LARGE}}]}}},
        },
        [
            f"{place} is too large a number for Helm: put it in quotes"
            for place in (
                "config.actions[1]: the ID",
                "config.actions[2]: the ID",
                "actionLists.default.lists.more[1]: the ticket",
            )
        ],
    ),
    (
        "key in the configuration",
        {"config": {"api": {**API, "key": "not-a-real-key"}}},
        ["config.api.key: everybody who may read ConfigMaps could read it: use apiKeys.default"],
    ),
    (
        "no key",
        {**TENANTS, "apiKeys": {"acme": {"existingSecret": "acme"}}},
        ["apiKeys.globex: is missing: no key for config.tenants[1].api"],
    ),
    (
        "two keys",
        {"config": {"api": {**API, "key_env": "KEY", "key_file": "/key"}}, "apiKeys": KEYS},
        ["apiKeys.default and config.api.key_file and config.api.key_env: give one of them"],
    ),
    (
        "password of a proxy",
        {"config": {"api": {**API, "proxy_url": "http://user:not-a-real-password@proxy:3128"}}, "apiKeys": KEYS},
        [
            (
                "config.api.proxy_url: everybody who may read ConfigMaps could read its password: "
                "set HTTPS_PROXY from a Secret in extraEnv, and let networkPolicy.extraEgress lead there"
            )
        ],
    ),
    (
        "password in the URL",
        {"config": {"api": {**API, "url": "https://user:not-a-real-password@api-acme.example"}}, "apiKeys": KEYS},
        ["config.api.url: everybody who may read ConfigMaps could read its credentials: it has none"],
    ),
    (
        "proxy out of reach",
        {**TENANT, "extraEnv": [{"name": "https_proxy", "value": "http://proxy:3128"}, {"name": "NO_PROXY"}]},
        [
            (
                "extraEnv: https_proxy names a proxy, to which networkPolicy leaves no way: "
                "add it to networkPolicy.extraEgress"
            )
        ],
    ),
    (
        "key from nowhere, and from two places",
        {**TENANTS, "apiKeys": {"acme": {}, "globex": {"existingSecret": "globex", "value": "not-a-real-key"}}},
        [f"apiKeys.{name}: give either existingSecret or value" for name in ("acme", "globex")],
    ),
    (
        "claim without persistence",
        {**TENANT, "persistence": {"existingClaim": "state"}},
        ["persistence.existingClaim: is without effect: set persistence.enabled"],
    ),
    (
        "two state files",
        {
            "config": {"api": API, "state": {"path": "/state/state.db"}},
            "apiKeys": KEYS,
            "persistence": {"enabled": True},
        },
        ["config.state.path: is set by the chart where persistence.enabled is true"],
    ),
    (
        "state file that cannot be written",
        {
            "config": {"api": API, "state": {"path": "/state/state.db"}},
            "apiKeys": KEYS,
            "extraVolumeMounts": [{"name": "state", "mountPath": "/states"}],
        },
        [
            (
                "config.state.path: cannot be written in a read-only root file system: "
                "set persistence.enabled, or mount a volume there with extraVolumeMounts"
            )
        ],
    ),
    (
        "shards of one tenant",
        {**TENANT, "shards": 2},
        ["shards: more than one share tenants: there is one, in config.api"],
    ),
    (
        "shards that cannot share",
        {
            **TENANTS,
            "shards": 2,
            "persistence": {"enabled": True, "existingClaim": "state"},
            "ingress": {"enabled": True, "hosts": [{"host": "xdr.example.com"}]},
            "networkPolicy": {"enabled": False},
        },
        [
            "persistence.existingClaim: each shard needs a claim of its own: leave it out, or have one shard",
            "ingress.enabled: leads to one shard of several, which has its own tenants only",
        ],
    ),
    (
        "flags of the chart",
        {"extraArgs": ["--once", "--web.listen-address=:80", "--config.auto-reload-interval=10s"]},
        [
            f"extraArgs: {flag} is for the chart to set, or keeps the exporter from running"
            for flag in ("--once", "--web.listen-address")
        ],
    ),
    (
        "two disruption budgets",
        {"podDisruptionBudget": {"minAvailable": 1}},
        ["podDisruptionBudget: give either minAvailable or maxUnavailable, and null for the other"],
    ),
    (
        "ingress that leads nowhere",
        {"ingress": {"enabled": True}},
        [
            "ingress.hosts: is empty",
            (
                "ingress.enabled: networkPolicy lets nobody in but who scrapes: "
                "add the ingress controller to networkPolicy.extraIngress"
            ),
        ],
    ),
    (
        "two web configurations",
        {"web": {"config": {"http_server_config": {}}, "existingSecret": {"name": "web"}}},
        ["web.config: does not go with web.existingSecret: give one of them"],
    ),
    (
        "TLS without a certificate",
        {"web": {"config": {"tls_server_config": {"min_version": "TLS13"}}}},
        ["web.tlsSecret: is missing: there is no certificate (or web.config.tls_server_config.cert_file)"],
    ),
    (
        "passwords that probes do not know",
        {"web": {"config": {"basic_auth_users": {"prometheus": "$2y$10$…"}}}},
        ["web.basicAuthSecret: is missing: probes and monitors are asked for a password, too"],
    ),
    (
        "password that nobody asks for",
        {"web": {"basicAuthSecret": "password"}},
        ["web.basicAuthSecret: nobody is asked for a password: set web.config.basic_auth_users"],
    ),
    (
        "two monitors",
        {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
        ["podMonitor.enabled: does not go with serviceMonitor.enabled: everything would be scraped twice"],
    ),
    (
        "monitor that trusts nobody and has no certificate",
        {"web": {"existingSecret": CLIENTS}, "podMonitor": {"enabled": True}},
        [
            (
                "podMonitor.tlsConfig: is missing: "
                "by which authority, and under which name, is the exporter to be trusted?"
            ),
            "podMonitor.tlsConfig.cert: is missing: the exporter requires a client certificate",
        ],
    ),
    (
        "monitor that cannot read Secrets",
        {
            "web": {
                "config": {"basic_auth_users": {"prometheus": "$2y$10$…"}},
                "basicAuthSecret": "password",
                "tlsSecret": "tls",
            },
            "serviceMonitor": {"enabled": True, "namespace": "elsewhere"},
        },
        [
            "serviceMonitor.endpoint.basicAuth: is missing: web.basicAuthSecret is in another namespace",
            "serviceMonitor.tlsConfig: is missing: web.tlsSecret is in another namespace",
        ],
    ),
]

FORGOTTEN = (
    "config: is empty: pass the values of the release again, or set demo to upgrade it to a simulated tenant"
)

REFUSED: list[tuple[Json, str]] = [
    ({"shards": None}, "'': missing property 'shards'"),
    ({"image": {"repository": None}}, "'/image': missing property 'repository'"),
    (
        {"prometheusRule": {"alerts": {"CortexXDRApiDown": None}}},
        "'/prometheusRule/alerts': missing property 'CortexXDRApiDown'",
    ),
    ({"shard": 2}, "'': additional properties 'shard' not allowed"),
    ({"image": {"registry": "example.com"}}, "'/image': additional properties 'registry' not allowed"),
    (
        {"image": {"digest": "sha256:0"}},
        "'/image/digest': 'sha256:0' does not match pattern '^(sha256:[0-9a-f]{64})?$'",
    ),
    ({"config": {"tenant": []}}, "'/config': additional properties 'tenant' not allowed"),
    ({"config": {"api": {**API, "keyId": 7}}}, "'/config/api': additional properties 'keyId' not allowed"),
    ({"config": {"api": {"url": API["url"]}}}, "'/config/api': missing property 'key_id'"),
    ({"config": {"poll": {"interval": 60}}}, "'/config/poll/interval': got number, want string"),
    ({"config": {"poll": {"retire_after": 60}}}, "'/config/poll/retire_after': maximum: got 60, want 0"),
    (
        {"readinessProbe": {"terminationGracePeriodSeconds": 5}},
        "'/readinessProbe': additional properties 'terminationGracePeriodSeconds' not allowed",
    ),
    ({"livenessProbe": {"successThreshold": 3}}, "'/livenessProbe/successThreshold': value must be 1"),
    ({"apiKeys": {"default": "not-a-real-key"}}, "'/apiKeys/default': got string, want object"),
    ({"apiKeys": {"default": {"value": 12345}}}, "'/apiKeys/default/value': got number, want string"),
    ({"shards": "3"}, "'/shards': got string, want integer"),
    ({"shards": 0}, "'/shards': minimum: got 0, want 1"),
    ({"persistence": {"enabled": "true"}}, "'/persistence/enabled': got string, want boolean"),
    ({"logLevel": "trace"}, "'/logLevel': value must be one of 'debug', 'info', 'warn', 'error'"),
    (
        {"service": {"type": "ExternalName"}},
        "'/service/type': value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'",
    ),
    ({"podLabels": {"stage": 1}}, "'/podLabels/stage': got number, want string"),
    ({"extraArgs": "--log.level=warn"}, "'/extraArgs': got string, want array"),
    ({"livenessProbe": {"httpGet": {}}}, "'/livenessProbe': additional properties 'httpGet' not allowed"),
    (
        {"serviceMonitor": {"endpoint": {"port": "http"}}},
        "'/serviceMonitor/endpoint': additional properties 'port' not allowed",
    ),
    (
        {"prometheusRule": {"alerts": {"CortexXDRDown": {}}}},
        "'/prometheusRule/alerts': additional properties 'CortexXDRDown' not allowed",
    ),
    (
        {"prometheusRule": {"alerts": {"CortexXDRApiDown": {"threshold": 1}}}},
        "'/prometheusRule/alerts/CortexXDRApiDown': additional properties 'threshold' not allowed",
    ),
    (
        {"prometheusRule": {"alerts": {"CortexXDRApiDown": {"for": "5 minutes"}}}},
        (
            "'/prometheusRule/alerts/CortexXDRApiDown/for': '5 minutes' does not match pattern "
            "'^([0-9]+(ms|[smhdwy]))+$'"
        ),
    ),
]


@pytest.mark.parametrize(("values", "problems"), [pytest.param(*case[1:], id=case[0]) for case in GUARDED])
def test_what_cannot_work_is_refused(values: Json, problems: list[str]) -> None:
    """All problems are told at once, each with its value, and with what would be right."""
    head = "Error: execution error at (cortex-xdr-exporter/templates/workload.yaml:1:4): \n\n"
    tail = "\n\n\nUse --debug flag to render out invalid YAML\n"
    assert refusal(values) == head + "\n".join(problems) + tail


def test_upgrade_does_not_turn_to_a_simulated_tenant_unasked() -> None:
    """Values that were forgotten in an upgrade leave the release as it is, unless that is what is wanted."""

    def upgraded(values: Json) -> tuple[int, str]:
        run = helm("template", "acme", str(CHART), "--is-upgrade", values=values)
        return run.returncode, run.stderr

    code, said = upgraded({})
    assert (code, FORGOTTEN in said.splitlines()) == (1, True)
    assert upgraded({"demo": True}) == upgraded(TENANT) == (0, "")


def test_every_guard_is_tried() -> None:
    """Each message that the templates have is among those above."""
    said = "\n".join([FORGOTTEN, *(problem for _, _, problems in GUARDED for problem in problems)])
    guards = (CHART / "templates" / "_guards.tpl").read_text()
    messages = re.findall(r'append \$problems (?:\(printf )?"(.*?)"', guards)
    assert len(messages) == guards.count("append $problems")
    patterns = [re.sub("%[sd]", ".+", re.escape(message)) for message in messages]
    assert [pattern for pattern in patterns if not re.search(f"^{pattern}$", said, re.MULTILINE)] == []


@pytest.mark.parametrize("values", [TENANT, TENANTS, {**TENANTS, "shards": 2}], ids=["one", "several", "shards"])
def test_what_is_spoilt_was_fine(values: Json) -> None:
    """The values that the tests above spoil are taken as they were."""
    assert render(values)


@pytest.mark.parametrize(("values", "problem"), REFUSED, ids=[problem.split("'")[1] for _, problem in REFUSED])
def test_unknown_keys_and_wrong_types_are_refused(values: Json, problem: str) -> None:
    """The schema names the place and what is wrong there, and never a key's text."""
    head = "Error: values don't meet the specifications of the schema(s) in the following chart(s):"
    assert refusal(values) == f"{head}\n{CHART.name}:\n- at {problem}\n\n"
