"""The laboratory's nouns, one module each."""

from specimens.models.accounts import Role, Site, User
from specimens.models.api import IdempotencyKey, TokenGrant
from specimens.models.audit import AuditEvent
from specimens.models.cells import CellImage, Prediction
from specimens.models.codes import CodeMapping
from specimens.models.deliveries import (
    DelivererHeartbeat,
    Delivery,
    DeliveryAttempt,
    Destination,
)
from specimens.models.dicom import DicomFrame, DicomImport, DicomInstance
from specimens.models.dicom_network import AssociationLog, PacsServer
from specimens.models.inbound import InboundMessage, OrderedTest
from specimens.models.jobs import Job, WorkerHeartbeat
from specimens.models.operations import ImageCustody, OperationRun
from specimens.models.patients_orders import Order, Patient
from specimens.models.reports import ReferenceRange, Report
from specimens.models.review import (
    Comment,
    QueueRule,
    Review,
    SavedView,
    SecondRead,
    SecondReadLabel,
)
from specimens.models.second_factor import Authenticator, RecoveryCodes
from specimens.models.specimens import Slide, Specimen

__all__ = [
    "AssociationLog",
    "AuditEvent",
    "Authenticator",
    "CellImage",
    "CodeMapping",
    "Comment",
    "DelivererHeartbeat",
    "Delivery",
    "DeliveryAttempt",
    "Destination",
    "DicomFrame",
    "DicomImport",
    "DicomInstance",
    "IdempotencyKey",
    "ImageCustody",
    "InboundMessage",
    "Job",
    "OperationRun",
    "Order",
    "OrderedTest",
    "PacsServer",
    "Patient",
    "Prediction",
    "QueueRule",
    "RecoveryCodes",
    "ReferenceRange",
    "Report",
    "Review",
    "Role",
    "SavedView",
    "SecondRead",
    "SecondReadLabel",
    "Site",
    "Slide",
    "Specimen",
    "TokenGrant",
    "User",
    "WorkerHeartbeat",
]
