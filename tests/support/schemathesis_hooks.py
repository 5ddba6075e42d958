"""What schemathesis has to be told about this API; loaded by the name in SCHEMATHESIS_HOOKS."""

import schemathesis

from blick.model.image_patch import MEDIA_TYPES

schemathesis.serializer.alias(list(MEDIA_TYPES), "application/json")
schemathesis.serializer.alias(["application/offset+octet-stream"], "application/octet-stream")
