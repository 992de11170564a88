"""Why somebody rejects an association (PS3.8 section 9.3.4)."""

from typing import Any

from pynetdicom import evt
from pynetdicom.pdu import A_ASSOCIATE_RJ


class Rejection:
    """Notes the A-ASSOCIATE-RJ of an association: `evt_handlers=[rejection.handler]`.

    pynetdicom itself takes one for a failed connection where the other side has hung up by the time
    it looks, which on a busy machine is every third time.

    Attributes:
        answer: the A-ASSOCIATE primitive with result, source and diagnostic; None without one.
    """

    def __init__(self) -> None:
        self.answer: Any = None
        self.handler = (evt.EVT_PDU_RECV, self._note)

    def _note(self, event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            self.answer = event.pdu.to_primitive()
