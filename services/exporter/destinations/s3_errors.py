"""What S3 servers' errors mean: whether another try can succeed, and how a user is told.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and those of MinIO, Ceph and SeaweedFS.
"""

from __future__ import annotations

from typing import Final

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)

from shared.errors import DestinationFailed, ReelayError

_NO_BUCKET: Final = "there is no such bucket"
_DENIED: Final = "access is denied"
_EXPIRED: Final = "the session token has expired: store new credentials"
_TOKEN: Final = "the session token is not accepted"  # noqa: S105  a message
_FULL: Final = "no room is left there"
_BUSY: Final = "the server is overloaded"
_DAMAGED: Final = "the bytes were damaged on the way"
_KMS: Final = "the encryption key (KMS) cannot be used"
_FINAL: Final = {
    "NoSuchBucket": _NO_BUCKET,
    "AllAccessDisabled": _DENIED,
    "AccessDenied": _DENIED,
    "AccountProblem": "the account has a problem",
    "NotSignedUp": "the account is not signed up for S3",
    "InvalidAccessKeyId": "the access key is not known",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _TOKEN,
    "InvalidClientTokenId": _TOKEN,
    "InvalidBucketName": "this is not a bucket's name",
    "InvalidStorageClass": "the storage class is not known there",
    "EntityTooLarge": "the file is larger than the server allows",
    "KeyTooLongError": "the key is too long",
    "MethodNotAllowed": "this may not be written to",
    "NotImplemented": "the server does not support what is asked",
    "AccessControlListNotSupported": "the bucket takes no ACL: leave the option acl out",
    "KMS.NotFoundException": _KMS,
    "KMS.DisabledException": _KMS,
    "KMS.KMSInvalidStateException": _KMS,
    "401": _DENIED,
    "403": _DENIED,
}
_TRANSIENT: Final = {
    "SlowDown": _BUSY,
    "SlowDownRead": _BUSY,
    "SlowDownWrite": _BUSY,
    "ServiceUnavailable": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "Throttling": _BUSY,
    "ThrottlingException": _BUSY,
    "TooManyRequests": _BUSY,
    "InternalError": "the server failed",
    "RequestTimeout": "the server did not get the bytes in time",
    "BadDigest": _DAMAGED,
    "InvalidDigest": _DAMAGED,
    "IncompleteBody": _DAMAGED,
    "XAmzContentSHA256Mismatch": _DAMAGED,
    "OperationAborted": "another operation on the object is under way",
    "NoSuchUpload": "the unfinished upload is gone",
    "InvalidPart": "the server has lost a part of the upload",
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "InsufficientCapacity": _FULL,
    "InsufficientStorage": _FULL,
    "507": _FULL,
    "TemporaryRedirect": "the server redirects for now, as it does for a new bucket",
    "307": "the server redirects for now, as it does for a new bucket",
}
_REGION: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
)
_SKEWED: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_LONGEST: Final = 300


class S3Fault(DestinationFailed):
    """A request to an S3 server failed; `code` is the server's, or empty when it did not answer."""

    def __init__(self, message: str, *, code: str = "", final: bool = False) -> None:
        super().__init__(message, final=final)
        self.code = code


def refused(where: str, operation: str, error: ClientError) -> S3Fault:
    """Return the fault for what a server answered."""
    told = error.response.get("Error", {})
    code, said = str(told.get("Code", "")), str(told.get("Message", ""))[:_LONGEST]
    meta = error.response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    if code in _REGION:
        fields = meta.get("HTTPHeaders", {})
        region = str(told.get("Region") or fields.get("x-amz-bucket-region") or "")
        text = (
            f"the bucket is in the region {region}"
            if region
            else f"the bucket is in another region or at another server: {said}"
        )
        return S3Fault(f"{where}: {text}: correct the credentials' region ({code})", code=code, final=True)
    if code in _SKEWED:
        clocks = _clocks(told)
        return S3Fault(f"{where}: the clocks of this machine and of the server differ{clocks} ({code})", code=code)
    if code == "404":
        code = "NoSuchBucket" if operation == "head_bucket" else "NoSuchKey"
    if code in _FINAL:
        return S3Fault(f"{where}: {_FINAL[code]}{_said(said, code)}", code=code, final=True)
    if code in _TRANSIENT:
        return S3Fault(f"{where}: {_TRANSIENT[code]}{_said(said, code)}", code=code)
    gone = code == "NoSuchKey"
    transient = status >= 500 or status in {200, 408, 409, 425, 429} or gone
    return S3Fault(f"{where}: {said or f'HTTP {status}'} ({code or status})", code=code, final=not transient)


def broken(where: str, error: Exception, *, final: bool = False) -> S3Fault:
    """Return the fault for a request that got no answer."""
    cause = error.kwargs.get("error") if isinstance(error, HTTPClientError) else None
    if isinstance(cause, ReelayError):  # netguard: refused, not found, not reached
        fixed = not isinstance(cause, DestinationFailed) or cause.final
        return S3Fault(f"{where}: {cause}", final=fixed)
    if isinstance(error, SSLError):
        text = f"TLS failed: {cause or error}"[:_LONGEST]
        return S3Fault(f"{where}: {text}", final="CERTIFICATE_VERIFY_FAILED" in text.upper())
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        return S3Fault(f"{where}: nothing answers there")
    if isinstance(error, ReadTimeoutError):
        return S3Fault(f"{where}: the server does not answer in time")
    if isinstance(error, HTTPClientError):
        return S3Fault(f"{where}: the connection was closed ({type(cause or error).__name__})")
    return S3Fault(f"{where}: {str(error)[:_LONGEST]}", final=final)


def _said(said: str, code: str) -> str:
    return f" ({code}: {said})" if said else f" ({code})"


def _clocks(told: object) -> str:
    fields = told if isinstance(told, dict) else {}
    ours, theirs = fields.get("RequestTime"), fields.get("ServerTime")
    return f": {ours} here, {theirs} there" if ours and theirs else ""
