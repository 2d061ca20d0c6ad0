"""Every setting of Reelay: environment variables with the prefix REELAY_."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr, TypeAdapter, ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.broker.nodes import parse_nodes
from shared.runtime.reachable import in_url, reachable_host

TakeUp = Literal["never", "away", "any"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ADMIN_KEY: Final = (32, 128, 10)
"""The minimum and maximum length of an admin key, and how many characters must differ."""
LONGEST_LINE: Final = 4096
_BYTES = TypeAdapter(ByteSize)


def _parsed(text: str) -> tuple[Network, ...]:
    parts = (p.strip() for p in text.split(","))
    return tuple(ipaddress.ip_network(p, strict=False) for p in parts if p)


def _networks(text: str) -> str:
    _parsed(text)
    return text


def _strong(text: str) -> str:
    if len(text) < ADMIN_KEY[0]:
        raise ValueError(f"is too short: an admin key has at least {ADMIN_KEY[0]} characters (openssl rand -hex 24)")
    if len(text) > ADMIN_KEY[1] or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"an admin key has at most {ADMIN_KEY[1]} characters, those of ASCII without spaces")
    if len(set(text)) < ADMIN_KEY[2]:
        raise ValueError(f"is too simple: an admin key has at least {ADMIN_KEY[2]} different characters")
    return text


def _admin_key(text: SecretStr) -> SecretStr:
    return SecretStr(_strong(text.get_secret_value())) if text.get_secret_value() else text


def _admin_key_file(text: str, info: ValidationInfo) -> str:
    if not text:
        return text
    given = info.data.get("admin_key")
    if given is not None and given.get_secret_value():
        raise ValueError("REELAY_ADMIN_KEY is set, too: set one of them")
    try:
        _strong(_first_line(text))
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None  # the name may be a key by mistake
    except UnicodeDecodeError:
        raise ValueError("the file is not text") from None
    return text


def _first_line(path: str) -> str:
    with Path(path).open(encoding="ascii") as file:
        return file.readline(LONGEST_LINE).strip()


def _existing(text: str) -> str:
    if text and not Path(text).is_file():
        raise ValueError(f"there is no file {text}")
    return text


def _nodes(text: str) -> str:
    if text:
        parse_nodes(text)
    return text


def _bytes(text: str) -> str:
    if text:
        _BYTES.validate_python(text)
    return text


def _spans(text: str) -> tuple[range, ...]:
    """Parse ports and ranges of ports; raise ValueError for anything else."""
    spans = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        first, dash, last = part.partition("-")
        span = range(int(first), int(last if dash else first) + 1)
        if not span or span.start < 1 or span.stop > 65536:
            raise ValueError(f"{part} is not a port or a span of ports")
        spans.append(span)
    return tuple(spans)


def _ports(text: str) -> str:
    _spans(text)
    return text


def setting_of(fault: Mapping[str, Any]) -> str:
    """Return the name of the variable that one of a ValidationError's errors is about."""
    return "_".join(["REELAY", *(str(part).upper() for part in fault["loc"])])


def _duration(value: object) -> object:
    """Convert a bare number, which an environment variable holds as text, to seconds."""
    return timedelta(seconds=int(value)) if isinstance(value, str) and value.isdecimal() else value


class Settings(BaseSettings):
    """The operator's settings; the defaults suit one machine."""

    # Errors do not show the input: it may be a password.
    model_config = SettingsConfigDict(env_prefix="REELAY_", extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Field(Path("data"), description="Everything Reelay keeps on this machine")
    host: str = Field("127.0.0.1", description="Address that the servers bind")
    http_port: int = Field(8080, ge=0, le=65535, description="REST API, HLS and downloads")
    rtmp_port: int = Field(1935, ge=0, le=65535, description="RTMP ingest (TCP)")
    srt_port: int = Field(8890, ge=0, le=65535, description="SRT ingest (UDP)")
    health_port: int = Field(0, ge=0, le=65535, description="GET /healthz and /readyz of a service; 0: none")
    nats_url: Annotated[str, AfterValidator(_nodes)] = Field(
        "", description="The broker, or the nodes of a cluster, with commas; unset: `reelay up` starts an embedded one"
    )
    nats_port: int = Field(4222, ge=0, le=65535, description="Port of the embedded broker")
    nats_replicas: int = Field(1, ge=1, le=5, description="Copies of each stream and bucket in a cluster")
    store: str = Field("", description="Where media lies: empty (a folder below DATA_DIR) or s3://bucket/prefix")
    s3_endpoint: str = Field("", description="Endpoint of an S3 server other than AWS")
    disk_reserve: Annotated[str, AfterValidator(_bytes)] = Field(
        "", description="Room that recordings leave free on the local store's file system: bytes, or as 2GiB; 0: none"
    )
    secret_key: SecretStr = Field(SecretStr(""), description="Encrypts stored secrets; made in DATA_DIR if unset")
    secret_keys_old: SecretStr = Field(
        SecretStr(""), description="Earlier SECRET_KEYs, with commas: what they sealed is read, and sealed anew"
    )
    content_encryption: bool = Field(
        default=False,
        description="Encrypt recordings in the store (CENC, AES-CTR); a job's `encrypted` says otherwise for it",
    )
    admin_key: Annotated[SecretStr, AfterValidator(_admin_key)] = Field(
        SecretStr(""), description="The admin API key of all gateways; unset: made in DATA_DIR and kept in the broker"
    )
    admin_key_file: Annotated[str, AfterValidator(_admin_key_file)] = Field(
        "", description="File whose first line is ADMIN_KEY: a secret that the container engine mounts"
    )
    public_url: str = Field("", description="How clients reach the gateway; default http://HOST:HTTP_PORT")
    public_host: str = Field("", description="Host in stream and SRT URLs; default that of PUBLIC_URL")
    allow_nets: Annotated[str, NoDecode, AfterValidator(_networks)] = Field(
        "", description="CIDRs, with commas, that user-given URLs may reach besides public addresses"
    )
    proxy_nets: Annotated[str, NoDecode, AfterValidator(_networks)] = Field(
        "", description="CIDRs, with commas, of balancers whose HTTP and RTMP connections begin with a PROXY header"
    )
    ca_file: Annotated[str, AfterValidator(_existing)] = Field(
        "", description="PEM file of authorities that are trusted besides the usual ones, by what calls out over TLS"
    )
    srt_out_ports: Annotated[str, AfterValidator(_ports)] = Field(
        "", description="Ports, as 9000-9100,9200, on which SRT targets of restreams may wait for callers; empty: none"
    )
    target_pause: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(seconds=60), description="The longest pause before a restream's target that fails is called again"
    )
    cdn_window: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(0), description="The r of a CDNetworks request must be the time in s, this near to now; 0: anything"
    )
    source_spool: Annotated[str, AfterValidator(_bytes)] = Field(
        "4GiB",
        description="The largest source of a restream that is fetched whole, where it cannot play before; 0: none",
    )
    source_memory: Annotated[str, AfterValidator(_bytes)] = Field(
        "512MiB", min_length=1, description="The most memory that reading one stranger's file in a restream may take"
    )
    source_cpu: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(seconds=10),
        ge=timedelta(seconds=1),
        description="How long a core may work on a stranger's file before something comes of it",
    )
    retention: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(days=7), description="How long recordings are kept (seconds, or ISO 8601 as P7D)"
    )
    on_play: str = Field("", description="URL that is asked who may play streams that have no on_play of their own")
    on_publish: str = Field("", description="URL that is asked who may publish to streams that have no on_publish")
    take_up: TakeUp = Field(
        "never",
        description="Which finished jobs their encoder takes up again within RETENTION: never, away, any",
    )
    clip_retention_days: int = Field(0, ge=0, le=36_500, description="Days that clips are kept; 0: until deleted")
    caption_font: str = Field("", description="Font file (TTF, OTF) for captions in clips; empty: DejaVu Sans")
    export_dir: str = Field(
        "", description="Folder with a folder per account, below which folder destinations lie; empty: none are taken"
    )
    videocloud_oauth_url: str = Field("https://oauth.brightcove.com", description="Video Cloud's OAuth API")
    videocloud_cms_url: str = Field("https://cms.api.brightcove.com", description="Video Cloud's CMS API")
    videocloud_ingest_url: str = Field(
        "https://ingest.api.brightcove.com", description="Video Cloud's Dynamic Ingest API"
    )
    videocloud_bucket_url: str = Field("", description="Video Cloud's buckets, by S3's protocol; empty: at AWS")
    videocloud_wait: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(hours=6), description="The longest time that Video Cloud may take to ingest a file"
    )
    library_retention_days: int = Field(
        0, ge=0, le=36_500, description="Days that files of the library are kept; 0: until deleted"
    )
    delete_oldest: bool = Field(
        default=False,
        description="Delete the oldest hours of recordings before a full disk would end recording",
    )
    log_size: Annotated[str, AfterValidator(_bytes)] = Field(
        "32MiB", description="Size at which `reelay up` begins another file when its output goes to one; 0: never"
    )
    log_files: int = Field(4, ge=1, le=100, description="How many of its older log files are kept")
    restreams: int = Field(40, ge=0, le=1000, description="How many restreams an instance plays at once")
    account_rate: int = Field(100, ge=0, le=100_000, description="Requests a second of an account; 0: any number")
    account_jobs: int = Field(1000, ge=0, description="Live jobs of an account that have not ended; 0: any number")
    account_clips: int = Field(1000, ge=0, description="Clips of an account that are in work; 0: any number")
    account_restreams: int = Field(200, ge=0, description="Restreams of an account that are not over; 0: any number")
    account_webhooks: int = Field(100, ge=0, description="Receivers of webhooks of an account; 0: any number")
    outputs: int = Field(100, ge=0, le=100, description="Clips that one request may ask for; 0: as many as it can, 100")
    log_json: bool = Field(default=False, description="Log lines as JSON")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    instance: str = Field("", max_length=64, description="Name of this instance; default host name and process id")

    @cached_property
    def allowed_networks(self) -> tuple[Network, ...]:
        """The networks of ALLOW_NETS."""
        return _parsed(self.allow_nets)

    @cached_property
    def proxy_networks(self) -> tuple[Network, ...]:
        """The networks of PROXY_NETS."""
        return _parsed(self.proxy_nets)

    @property
    def given_admin_key(self) -> str:
        """The admin key of ADMIN_KEY or ADMIN_KEY_FILE; "" when neither is set. Raise OSError."""
        return _first_line(self.admin_key_file) if self.admin_key_file else self.admin_key.get_secret_value()

    @property
    def srt_out_spans(self) -> tuple[range, ...]:
        """The ports of SRT_OUT_PORTS."""
        return _spans(self.srt_out_ports)

    @property
    def disk_reserve_bytes(self) -> int | None:
        """DISK_RESERVE in bytes; None when it is unset."""
        return int(_BYTES.validate_python(self.disk_reserve)) if self.disk_reserve else None

    @property
    def log_size_bytes(self) -> int:
        """LOG_SIZE in bytes; 0 when there is no limit."""
        return int(_BYTES.validate_python(self.log_size)) if self.log_size else 0

    @property
    def source_spool_bytes(self) -> int:
        """SOURCE_SPOOL in bytes."""
        return int(_BYTES.validate_python(self.source_spool)) if self.source_spool else 0

    @property
    def source_memory_bytes(self) -> int:
        """SOURCE_MEMORY in bytes."""
        return int(_BYTES.validate_python(self.source_memory))

    @property
    def media_dir(self) -> Path:
        """The folder of the local media store."""
        return self.data_dir / "media"

    @property
    def library_dir(self) -> Path:
        """The folder of the local library; each account has a folder below it."""
        return self.data_dir / "library"

    @property
    def base_url(self) -> str:
        """The public URL of the gateway, without a trailing slash."""
        return (self.public_url or f"http://{in_url(reachable_host(self.host))}:{self.http_port}").rstrip("/")

    @property
    def broker_url(self) -> str:
        """The URL of the broker or of its nodes; the embedded broker's when none is set."""
        return self.nats_url or f"nats://127.0.0.1:{self.nats_port}"
