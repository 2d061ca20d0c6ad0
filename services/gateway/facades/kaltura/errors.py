"""Exceptions of the API: a code, and a message with arguments. They are answered with the status 200."""

from __future__ import annotations

import re
from typing import Final

from services.gateway.domain.errors import Denied, Invalid, NotFound, StateConflict, TooLarge, TooMany
from services.gateway.facades.facade import Fault
from services.gateway.facades.kaltura.ks import KsRefused
from shared.errors import Rejected

MESSAGES: Final = {
    "ACTION_DOES_NOT_EXISTS": 'Action "{ACTION_NAME}" does not exists for service "{SERVICE_NAME}"',
    "ACTION_NOT_SPECIFIED": "Action name must be specified in case of service was specified",
    "CANNOT_UPDATE_FIELDS_WHILE_ENTRY_BROADCASTING": "Cannot update the fields [{FIELDS}] while the entry is live",
    "CONVERSION_PROFILE_ID_NOT_FOUND": 'Conversion profile id "{ID}" not found',
    "ENTRY_ID_NOT_FOUND": 'Entry id "{ENTRY_ID}" not found',
    "ENTRY_SERVER_NODE_NOT_FOUND": 'Entry server node "{ID}" not found',
    "FLAVOR_PARAMS_ID_NOT_FOUND": 'Flavor params id "{FLAVOR_PARAMS_ID}" not found',
    "INGEST_NOT_FOUND_IN_CONVERSION_PROFILE": "Ingest [{STREAM_NAME}] not found in the conversion profile",
    "INTERNAL_SERVERL_ERROR": "Internal server error occurred",
    "INVALID_ENTRY_ID": 'Invalid entry id "{ENTRY_ID}"',
    "INVALID_ENUM_VALUE": 'The value "{VALUE}" for parameter "{PARAM_NAME}" is not a valid value of {ENUM}',
    "INVALID_KS": 'Invalid KS "***", Error "{ERR}"',
    "INVALID_MULTIREQUEST_TOKEN": "Invalid multirequest token, the result that it names is not there",
    "INVALID_PARAMETERS": "The request cannot be read: {WHY}",
    "INVALID_STREAM_NAME": "Invalid stream name [{STREAM_NAME}]",
    "LIVE_STREAM_ALREADY_BROADCASTING": "Entry [{ENTRY_ID}] is already broadcasting to [{HOST}]",
    "LIVE_STREAM_EXCEEDED_MAX_PASSTHRU": "Partner exceeded max concurrent passthrough live streams",
    "LIVE_STREAM_INVALID_TOKEN": "Invalid token for entry [{ENTRY_ID}]",
    "MEDIA_SERVER_NOT_FOUND": "Media server [{HOST}] was never reported",
    "MISSING_KS": "Missing KS, session not established",
    "MISSING_MANDATORY_PARAMETER": 'Missing parameter "{PARAM_NAME}"',
    "PERMISSION_NOT_FOUND": 'Permission "{NAME}" not found',
    "PROPERTY_IS_NOT_DEFINED": 'The property "{PROP_NAME}" is not defined on type "{CLASS}", or not served here',
    "PROPERTY_VALIDATION_MAX_LENGTH": 'The property "{PROP_NAME}" cannot be longer than {MAX_LENGTH} characters',
    "PROPERTY_VALIDATION_MAX_VALUE": 'The property "{PROP_NAME}" cannot be bigger than {MAX_VALUE}',
    "PROPERTY_VALIDATION_MIN_VALUE": 'The property "{PROP_NAME}" cannot be lower than {MIN_VALUE}',
    "PROPERTY_VALIDATION_NOT_UPDATABLE": 'The property "{PROP_NAME}" cannot be updated',
    "PROPERTY_VALIDATION_NUMERIC_VALUE": 'The property "{PROP_NAME}" must be a number',
    "QUOTA_EXCEEDED": "{WHY}",
    "RATE_LIMITED": "{WHY}",
    "SERVER_NODE_NOT_FOUND": 'Server node "{ID}" not found',
    "SERVICE_DOES_NOT_EXISTS": 'Service "{SERVICE_NAME}" does not exists',
    "SERVICE_FORBIDDEN": "The access to service [{SERVICE}->{ACTION}] is forbidden",
    "SERVICE_NOT_SPECIFIED": "Service name must be specified",
    "START_SESSION_ERROR": "Error while starting session for partner [{PARTNER_ID}]",
    "STATE_CONFLICT": "{WHY}",
    "UNSUPPORTED_FORMAT": "The format {FORMAT} is not served: 1 is JSON, 2 is XML",
}
_SHOWN: Final = 200
_UNPRINTABLE: Final = re.compile(r"[^ -~\u00a0-\ud7ff\ue000-\ufffd]")


class KalturaError(Rejected):
    """An exception of the API, by its code; the arguments fill its message."""

    def __init__(self, code: str, **args: str) -> None:
        self.code = code
        self.args_shown = {name: _UNPRINTABLE.sub("?", value)[:_SHOWN] for name, value in args.items()}
        super().__init__(MESSAGES[code].format_map(self.args_shown))


def kaltura_error(error: Fault) -> KalturaError:
    """Return an error of the gateway as an exception of the API."""
    if isinstance(error, KalturaError):
        return error
    if isinstance(error, KsRefused):
        return KalturaError("INVALID_KS", KSID="***", ERR=str(error))
    if isinstance(error, TooMany):
        return KalturaError(error.code if error.code in MESSAGES else "QUOTA_EXCEEDED", WHY=str(error))
    if isinstance(error, StateConflict):
        return KalturaError("STATE_CONFLICT", WHY=str(error))
    if isinstance(error, Invalid | NotFound | TooLarge | Denied):
        return KalturaError("INVALID_PARAMETERS", WHY=str(error))
    return KalturaError("INTERNAL_SERVERL_ERROR")
