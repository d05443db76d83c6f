"""Valid configurations: what they say, where the key comes from, and what is warned about."""

import hashlib
import re
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from exporter.config import Action, ApiSettings, Configuration, PollSettings, Tenant, load, warnings
from exporter.config.schema import Section
from exporter.config.values import action_files
from exporter.errors import ConfigurationError
from exporter.sharding import ALONE, Shard, Share

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
API = "url: https://api-acme.example, key_id: 7, key_type: advanced"
ACME = ApiSettings(url="https://api-acme.example", key_id="7", key_type="advanced", key=SecretStr("k"))
EVERY_KEY = """
api:
  url: https://gateway.example:8443/cortex/
  key_id: "0012"
  key_type: standard
  key_file: keys/acme
  requests_per_second: 2.5
  timeout: 500ms
  ca_file: ca.pem
  proxy_url: http://user:word@proxy.example:3128
actions:
  - 22519813685366
  - {id: "0x1F", labels: {team: endpoint-ops, campaign: 7, on: "yes", wave: ""}}
action_files: [actions.d/**/*.yaml, /srv/actions.json]
poll: {interval: 30s, settled_interval: 2h, retire_after: 0, stale_after: 0s}
state: {path: state/known.db}
"""


def write(folder: Path, text: str) -> Path:
    """Write a configuration file and return its path."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load_text(folder: Path, text: str) -> Configuration:
    """Load a configuration from its text."""
    return load(write(folder, text))


def test_every_key_is_read(tmp_path: Path) -> None:
    """Each key of the file arrives where the other modules look for it; paths start at the file's folder."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "acme").write_text("s3cr3t\n")
    certificate = trustme.CA().cert_pem
    certificate.write_to_path(tmp_path / "ca.pem")
    path = write(tmp_path, EVERY_KEY)
    assert load(path) == Configuration(
        tenants=(
            Tenant(
                name=None,
                api=ApiSettings(
                    url="https://gateway.example:8443/cortex",
                    key_id="0012",
                    key_type="standard",
                    key=SecretStr("s3cr3t"),
                    key_file=tmp_path / "keys" / "acme",
                    requests_per_second=2.5,
                    timeout_seconds=0.5,
                    ca_file=tmp_path / "ca.pem",
                    ca_digest=hashlib.sha256(certificate.bytes()).hexdigest(),
                    proxy_url=SecretStr("http://user:word@proxy.example:3128"),
                ),
                actions=(
                    Action(id="22519813685366"),
                    Action(
                        id="0x1F",
                        labels=(("campaign", "7"), ("on", "yes"), ("team", "endpoint-ops"), ("wave", "")),
                    ),
                ),
                action_files=(f"{tmp_path}/actions.d/**/*.yaml", "/srv/actions.json"),
            ),
        ),
        poll=PollSettings(
            interval_seconds=30.0,
            settled_interval_seconds=7200.0,
            retire_after_seconds=0.0,
            stale_after_seconds=0.0,
        ),
        state_path=tmp_path / "state" / "known.db",
        path=path,
        names=(None,),
    )


@pytest.mark.parametrize("rest", ["", "actions:", "actions: []\naction_files:"])
def test_only_api_is_required(tmp_path: Path, rest: str) -> None:
    """Without the rest, the documented defaults hold and nothing is tracked."""
    configuration = load_text(tmp_path, f"api: {{{API}, key: k}}\n{rest}")
    assert configuration == Configuration(
        tenants=(Tenant(api=ACME),), names=(None,), path=tmp_path / "config.yaml"
    )
    assert not configuration.named
    assert ACME.model_dump(exclude={"url", "key_id", "key_type", "key"}) == {
        "key_file": None,
        "requests_per_second": 5.0,
        "timeout_seconds": 10.0,
        "ca_file": None,
        "ca_digest": None,
        "proxy_url": None,
    }
    assert configuration.poll.model_dump() == {
        "interval_seconds": 60.0,
        "settled_interval_seconds": 3600.0,
        "retire_after_seconds": 604800.0,
        "stale_after_seconds": 3600.0,
    }


def test_several_tenants_are_named(tmp_path: Path) -> None:
    """With `tenants`, each has its own API and actions; the same ID may stand in two of them."""
    configuration = load_text(
        tmp_path,
        f"tenants:\n"
        f"  - {{name: acme, api: {{{API}, key: k}}, actions: [325]}}\n"
        f"  - {{name: Globex EU, api: {{{API}, key: k}}, actions: ['325'], action_files: []}}\n",
    )
    assert configuration.tenants == (
        Tenant(name="acme", api=ACME, actions=(Action(id="325"),)),
        Tenant(name="Globex EU", api=ACME, actions=(Action(id="325"),)),
    )
    assert configuration.named


SHARED = """
tenants:
  - {name: acme, api: {url: "https://api-acme.example", key_id: 7, key_file: acme, ca_file: acme.pem}}
  - {name: globex, api: {url: "https://api-globex.example", key_id: 7, key_env: NOT_SET}}
  - {name: initech, api: {url: "https://api-acme.example", key_id: 7, key: k}}
"""


def test_shard_has_its_own_tenants_and_needs_no_key_of_others(tmp_path: Path) -> None:
    """What other shards read need not be there; of their tenants nothing is left but the names."""
    path = write(tmp_path, SHARED)
    acme, initech = Shard(2, 3), Shard(1, 3)
    assert load(path, shard=initech) == Configuration(
        tenants=(Tenant(name="initech", api=ACME),),
        names=("acme", "globex", "initech"),
        shard=initech,
        path=path,
    )
    assert load(path, shard=initech).share == Share(initech, 1, 3)
    with pytest.raises(ConfigurationError) as refused:
        load(path, shard=acme)
    assert refused.value.problems == [
        f"{path}: tenants[0].api.key_file: {tmp_path}/acme cannot be read: no such file or directory",
        f"{path}: tenants[0].api.ca_file: {tmp_path}/acme.pem cannot be read: no such file or directory",
        f"{path}: tenants[1].api.key_env: the environment variable NOT_SET is not set",
    ]


def test_shard_without_tenants_knows_that_they_have_names(tmp_path: Path) -> None:
    """A shard that has nothing to do is as the others are, and not one without a configuration."""
    configuration = load(write(tmp_path, SHARED), shard=Shard(0, 3))
    assert (configuration.tenants, configuration.named) == ((), True)
    assert configuration.share == Share(Shard(0, 3), 0, 3)
    unnamed = load(write(tmp_path, f"api: {{{API}, key_file: missing}}"), shard=Shard(1, 3))
    assert (unnamed.tenants, unnamed.named) == ((), False)


def test_mistakes_are_told_on_every_shard(tmp_path: Path) -> None:
    """The configuration is one for all: of other shards' tenants all is checked, but for what they read."""
    text = (
        "tenants:\n"
        "  - {name: acme, api: {url: x, key_id: x, key_file: 5}, actions: [true]}\n"
        "  - {name: initech, api: {url: 'https://a.example', key_id: 7, key_env: 1A, ca_file: 5, tmeout: 1s}}\n"
        "  - {name: '', api: 7}\n"
    )
    path = write(tmp_path, text)
    told = []
    for shard in (ALONE, Shard(0, 3), Shard(1, 3), Shard(2, 3)):
        with pytest.raises(ConfigurationError) as refused:
            load(path, shard=shard)
        told.append(refused.value.problems)
    assert len(told[0]) == 9
    assert told == [told[0]] * 4


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://api-acme.xdr.us.paloaltonetworks.com", "https://api-acme.xdr.us.paloaltonetworks.com"),
        ("HTTPS://api-acme.example/", "https://api-acme.example"),
        ("https://gateway.example:8443/cortex/eu//", "https://gateway.example:8443/cortex/eu"),
        ("https://192.0.2.7", "https://192.0.2.7"),
        ("http://127.9.8.7:8080", "http://127.9.8.7:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_url_is_taken_without_its_last_slash(tmp_path: Path, url: str, read: str) -> None:
    """A gateway's path is kept, loopback needs no TLS."""
    text = f"api: {{url: '{url}', key_id: 7, key_type: advanced, key: k}}"
    assert load_text(tmp_path, text).tenants[0].api.url == read


@pytest.mark.parametrize("source", ["key: ' k '", "key_env: CORTEX_KEY", "key_file: key"])
def test_key_comes_from_each_source_without_white_space_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """A key's last line break, which an editor or a secret store adds, is no part of it."""
    monkeypatch.setenv("CORTEX_KEY", "k\n")
    (tmp_path / "key").write_text("k\r\n")
    api = load_text(tmp_path, f"api: {{{API}, {source}}}").tenants[0].api
    assert api.key.get_secret_value() == "k"
    assert api.key_file == (tmp_path / "key" if source == "key_file: key" else None)


def test_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    """A file saved with a UTF-8 byte order mark reads as one without."""
    assert load_text(tmp_path, f"\ufeffapi: {{{API}, key: k}}").tenants[0].api == ACME


@pytest.mark.parametrize(
    ("entry", "action_id"),
    [
        ("325", "325"),
        ('"325"', "325"),
        ("9" * 128, "9" * 128),
        ("'0x1F'", "0x1F"),
        ("'1_000'", "1_000"),
        ("'1:30'", "1:30"),
        ("'null'", "null"),
        ("Größe-7", "Größe-7"),
        ("{id: '{text}'}", "{text}"),
    ],
)
def test_id_is_text_as_written(tmp_path: Path, entry: str, action_id: str) -> None:
    """An ID is its digits, or what stands in quotes."""
    configuration = load_text(tmp_path, f"api: {{{API}, key: k}}\nactions:\n  - {entry}\n")
    assert configuration.tenants[0].actions == (Action(id=action_id),)


def test_many_actions_load(tmp_path: Path) -> None:
    """Twenty thousand labelled actions are an ordinary file."""
    lines = (
        f"  - {{id: {22519813685366 + n}, labels: {{campaign: smbv1, wave: {n % 7}}}}}\n" for n in range(20_000)
    )
    actions = load_text(tmp_path, f"api: {{{API}, key: k}}\nactions:\n{''.join(lines)}").tenants[0].actions
    assert len(actions) == 20_000
    assert actions[-1] == Action(id="22519813705365", labels=(("campaign", "smbv1"), ("wave", "0")))


@pytest.mark.parametrize(
    ("folder", "pattern", "complete"),
    [
        ("/etc/cortex", "a.yaml", "/etc/cortex/a.yaml"),
        ("/etc/cortex", "./a.d//*.yaml", "/etc/cortex/a.d/*.yaml"),
        ("/etc/cortex", "/srv/*.json", "/srv/*.json"),
        ("/etc/[x]*?", "[ab].yaml", "/etc/[[]x][*][?]/[ab].yaml"),
        (".", "a.d/**/*.yaml", "a.d/**/*.yaml"),
        ("conf", "../a.yaml", "conf/../a.yaml"),
    ],
)
def test_pattern_is_completed_by_the_folder_which_stands_for_itself(
    folder: str, pattern: str, complete: str
) -> None:
    """What looks like a pattern in the folder's name is none."""
    assert action_files(pattern, Path(folder)) == complete


def test_action_files_and_state_are_not_looked_at(tmp_path: Path) -> None:
    """Patterns that match nothing and a state file in a folder that is not there are valid, and stay away."""
    configuration = load_text(
        tmp_path, f"api: {{{API}, key: k}}\naction_files: [none.yaml, a.d/*]\nstate: {{path: none/state.db}}"
    )
    assert configuration.tenants[0].action_files == (f"{tmp_path}/none.yaml", f"{tmp_path}/a.d/*")
    assert configuration.state_path == tmp_path / "none" / "state.db"
    assert list(tmp_path.iterdir()) == [configuration.path]


def test_ca_digest_tells_contents_apart(tmp_path: Path) -> None:
    """Certificates that are replaced under the same name make another configuration."""
    configurations = []
    for _ in range(2):
        trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
        configurations.append(load_text(tmp_path, f"api: {{{API}, key: k, ca_file: ca.pem}}"))
    assert configurations[0] != configurations[1]


def test_results_do_not_show_secrets(tmp_path: Path) -> None:
    """Neither the key nor the proxy's password is in a configuration's text."""
    configuration = load_text(
        tmp_path, f"api: {{{API}, key: s3cr3t, proxy_url: 'http://user:word@proxy.example'}}"
    )
    for text in (repr(configuration), str(configuration), configuration.model_dump_json()):
        assert "s3cr3t" not in text
        assert "word@" not in text


def tenant(name: str | None, requests_per_second: float) -> Tenant:
    """Make a tenant with that budget."""
    return Tenant(name=name, api=ACME.model_copy(update={"requests_per_second": requests_per_second}))


def test_budget_too_small_for_stale_after_is_warned_about() -> None:
    """Each tenant that cannot be polled once within stale_after is named; one that just can is not."""
    poll = PollSettings(stale_after_seconds=100.0)
    tenants = (tenant("acme", 5.0), tenant("globex", 5.0), tenant("initech", 0.5))
    counts = (490, 491, 50)
    end = "longer than stale_after (1m40s): raise requests_per_second or stale_after"
    names = tuple(each.name for each in tenants)
    whole = Configuration(tenants=tenants, names=names, poll=poll, path=Path("a.yaml"))
    expected = [
        f"a.yaml: tenants[1] (globex): polling 491 actions once, at 5 requests per second, takes 1m41s, {end}",
        f"a.yaml: tenants[2] (initech): polling 50 actions once, at 0.5 requests per second, takes 1m43s, {end}",
    ]
    assert warnings(whole, counts) == expected
    # Where others have the first tenants, the last one's place in the file stays what it is.
    assert warnings(whole.model_copy(update={"tenants": tenants[2:]}), counts[2:]) == expected[1:]
    assert warnings(Configuration(tenants=(tenant(None, 1.0),), names=(None,), poll=poll), [101]) == [
        f"config.yaml: actions: polling 101 actions once, at 1 requests per second, takes 1m44s, {end}",
    ]
    never = PollSettings(stale_after_seconds=0.0)
    assert warnings(whole.model_copy(update={"poll": never}), counts) == []


def test_example_loads_and_has_every_key(tmp_path: Path) -> None:
    """The example says what the defaults are, and misses no key of the schema."""
    (tmp_path / "key").write_text("k\n")
    text = EXAMPLE.read_text(encoding="utf-8").replace("/run/secrets/cortex-xdr-api-key", "key")
    configuration = load_text(tmp_path, text)
    acme = ACME.model_copy(
        update={"url": "https://api-acme.xdr.us.paloaltonetworks.com", "key_file": tmp_path / "key"}
    )
    labels = (("campaign", "disable-smbv1"), ("team", "endpoint-ops"))
    actions = (Action(id="22519813685366"), Action(id="22519813685370", labels=labels))
    assert configuration == Configuration(
        tenants=(Tenant(api=acme, actions=actions),), names=(None,), path=tmp_path / "config.yaml"
    )
    # The web configuration file has sections of its own.
    sections = [section for section in Section.__subclasses__() if section.__module__ == Section.__module__]
    keys = {key for section in sections for key in section.model_fields}
    assert keys - set(re.findall(r"^[\s#-]*(\w+):", text, re.MULTILINE)) == set()


def test_example_of_tenants_loads_without_its_comment_signs(tmp_path: Path) -> None:
    """The commented alternative at the example's end is a configuration, too."""
    for name in ("acme", "globex"):
        (tmp_path / f"{name}-api-key").write_text("k\n")
    text = EXAMPLE.read_text(encoding="utf-8")
    alternative = re.sub("^# ?", "", text[text.index("# tenants:") :], flags=re.MULTILINE)
    configuration = load_text(tmp_path, alternative.replace("/run/secrets/", ""))
    assert [tenant.name for tenant in configuration.tenants] == ["acme", "globex"]
    assert warnings(configuration, [1, 0]) == []


def test_sections_with_everything_commented_out_are_their_defaults(tmp_path: Path) -> None:
    """A key without a value is an empty section, as whoever comments lines out expects."""
    (tmp_path / "config.yaml").write_text(
        f"api: {{{API}, key: k}}\nactions: [{{id: 5, labels: }}]\naction_files:\npoll:\nstate:\n"
    )
    (tmp_path / "plain.yaml").write_text(f"api: {{{API}, key: k}}\nactions: [5]\n")
    commented, plain = (load(tmp_path / name) for name in ("config.yaml", "plain.yaml"))
    assert commented.model_copy(update={"path": plain.path}) == plain
