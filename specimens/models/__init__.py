"""The laboratory's nouns, one module each."""

from specimens.models.accounts import Role, Site, User
from specimens.models.audit import AuditEvent
from specimens.models.cells import CellImage, Prediction
from specimens.models.jobs import Job, WorkerHeartbeat
from specimens.models.patients_orders import Order, Patient
from specimens.models.specimens import Slide, Specimen

__all__ = [
    "AuditEvent",
    "CellImage",
    "Job",
    "Order",
    "Patient",
    "Prediction",
    "Role",
    "Site",
    "Slide",
    "Specimen",
    "User",
    "WorkerHeartbeat",
]
