"""Settings of what the hospital's systems speak: DICOM, HL7 v2, FHIR, and deliveries to them."""

import environ

from specimens.interop.fhir.naming import systems_problem
from wbclab.environment import HOME, env

# --- DICOM network --------------------------------------------------------------------------------
DICOM_AE_TITLE = env.str("WBCLAB_DICOM_AE_TITLE", default="WBCLAB")
DICOM_HOST = env.str("WBCLAB_DICOM_HOST", default="127.0.0.1")
DICOM_PORT = env.int("WBCLAB_DICOM_PORT", default=11112)
# Who may call: AE titles, each with =SITE where its images belong to another site than the usual.
DICOM_PEERS = env.list("WBCLAB_DICOM_PEERS", default=[])
DICOM_SITE = env.str("WBCLAB_DICOM_SITE", default="")
DICOM_TLS_CERTIFICATE = env.str("WBCLAB_DICOM_TLS_CERTIFICATE", default="")
DICOM_TLS_KEY = env.str("WBCLAB_DICOM_TLS_KEY", default="")
DICOM_TLS_CA = env.str("WBCLAB_DICOM_TLS_CA", default="")
DICOM_ASSOCIATIONS = env.int("WBCLAB_DICOM_ASSOCIATIONS", default=16)
DICOM_IDLE_SECONDS = env.float("WBCLAB_DICOM_IDLE_SECONDS", default=30.0)
DICOM_INSTANCE_MB = env.int("WBCLAB_DICOM_INSTANCE_MB", default=256)
DICOM_STOW_MB = env.int("WBCLAB_DICOM_STOW_MB", default=1024)
DICOM_PACS_SECONDS = env.float("WBCLAB_DICOM_PACS_SECONDS", default=120.0)
# Of a UID root of the laboratory's own; empty: UIDs are made from UUIDs (2.25).
DICOM_UID_ROOT = env.str("WBCLAB_DICOM_UID_ROOT", default="")
# What pseudonyms, shifted dates and replaced UIDs of de-identified sets follow from; empty: the
# secret key. Another one gives every patient another pseudonym.
DEIDENTIFICATION_SECRET = env.str("WBCLAB_DEIDENTIFICATION_SECRET", default="")

# --- HL7 v2 over MLLP -----------------------------------------------------------------------------
HL7_HOST = env.str("WBCLAB_HL7_HOST", default="127.0.0.1")
HL7_PORT = env.int("WBCLAB_HL7_PORT", default=2575)
HL7_SITE = env.str("WBCLAB_HL7_SITE", default="")
HL7_USER = env.str("WBCLAB_HL7_USER", default="integration")
HL7_CHARSET = env.str("WBCLAB_HL7_CHARSET", default="UNICODE UTF-8")
HL7_PROCESSING_ID = env.str("WBCLAB_HL7_PROCESSING_ID", default="P")
HL7_OWN_ISSUER = env.str("WBCLAB_HL7_OWN_ISSUER", default="")
HL7_PEERS = env.list("WBCLAB_HL7_PEERS", default=[])
HL7_MESSAGE_BYTES = env.int("WBCLAB_HL7_MESSAGE_BYTES", default=1_000_000)
HL7_CONNECTIONS = env.int("WBCLAB_HL7_CONNECTIONS", default=64)
HL7_IDLE_SECONDS = env.float("WBCLAB_HL7_IDLE_SECONDS", default=600.0)
HL7_MESSAGE_SECONDS = env.float("WBCLAB_HL7_MESSAGE_SECONDS", default=30.0)
HL7_TLS_CERTIFICATE = env.str("WBCLAB_HL7_TLS_CERTIFICATE", default="")
HL7_TLS_KEY = env.str("WBCLAB_HL7_TLS_KEY", default="")
HL7_TLS_CLIENT_CA = env.str("WBCLAB_HL7_TLS_CLIENT_CA", default="")

# --- FHIR -----------------------------------------------------------------------------------------
# URIs of identifiers in FHIR, where they differ from the defaults (docs/integration.md).
FHIR_SYSTEMS = env.json("WBCLAB_FHIR_SYSTEMS", default={})
if _problem := systems_problem(FHIR_SYSTEMS):
    raise environ.ImproperlyConfigured(f"WBCLAB_FHIR_SYSTEMS: {_problem}")

# --- deliveries to other systems ------------------------------------------------------------------
DELIVERY_MAX_ATTEMPTS = env.int("WBCLAB_DELIVERY_MAX_ATTEMPTS", default=20)
DELIVERY_BACKOFF_SECONDS = env.float("WBCLAB_DELIVERY_BACKOFF_SECONDS", default=2.0)
DELIVERY_BACKOFF_CAP_SECONDS = env.float("WBCLAB_DELIVERY_BACKOFF_CAP_SECONDS", default=300.0)
# Names, addresses and networks that may be called although they are not public.
DELIVERY_ALLOWED_HOSTS = env.list("WBCLAB_DELIVERY_ALLOWED_HOSTS", default=[])
DELIVERY_SECRETS_DIR = env.str("WBCLAB_DELIVERY_SECRETS_DIR", default="/run/secrets")
DELIVERY_DOORBELL_PATH = HOME / "deliveries-doorbell"
