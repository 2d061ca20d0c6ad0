"""HLS delivery of recordings: live edge, whole DVR window, any range by wall clock, from the stored segments."""

from services.gateway.delivery.parts import Delivery
from services.gateway.delivery.routes import router
from services.gateway.delivery.tokens import playback_url

__all__ = ["Delivery", "playback_url", "router"]
