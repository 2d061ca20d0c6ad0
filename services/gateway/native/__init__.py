"""Reelay's own API, /v1: a folder per domain."""

from typing import Final

from services.gateway.native.cdn_accounts.routes import router as cdn_accounts
from services.gateway.native.clips.images import router as images
from services.gateway.native.clips.media import router as media
from services.gateway.native.clips.routes import router as clips
from services.gateway.native.credentials.routes import router as credentials
from services.gateway.native.jobs.outputs import router as outputs
from services.gateway.native.jobs.routes import router as jobs
from services.gateway.native.kaltura_partners.routes import router as kaltura_partners
from services.gateway.native.keys.routes import router as keys
from services.gateway.native.library.routes import router as library
from services.gateway.native.restreams.routes import router as restreams
from services.gateway.native.webhooks.routes import router as webhooks

ROUTERS: Final = (
    jobs, outputs, clips, media, images, library, restreams, credentials, webhooks, keys, cdn_accounts,
    kaltura_partners,
)  # fmt: skip
