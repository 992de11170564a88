"""The laboratory's people and destinations. Import it only where Django is set up."""

from datetime import timedelta
from typing import Final

from django.contrib.auth.hashers import make_password
from django.db import connection

from specimens.models import Role, Site, User
from specimens.services.tokens import create_token
from tests.chaos.load import PASSWORD
from tests.interop.outbox import mllp, webhook
from tests.interop.receivers import ReceiverProcess

ROLES: Final = (Role.TECHNICIAN, Role.PATHOLOGIST, Role.INTEGRATION)

# Every end of a job or a delivery, written down by the database itself: an observer that the code
# under test cannot talk into anything. `leased` is whether a worker held it at that moment.
_OBSERVER: Final = """
CREATE TABLE chaos_ends (
    id bigserial PRIMARY KEY, kind text, row_id bigint, was text, became text, leased boolean
);
CREATE FUNCTION chaos_note_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_ends (kind, row_id, was, became, leased)
    VALUES (TG_TABLE_NAME, NEW.id, OLD.state, NEW.state, OLD.lease_token IS NOT NULL);
    RETURN NEW;
END $$;
CREATE TRIGGER chaos_job_ends AFTER UPDATE OF state ON specimens_job
    FOR EACH ROW WHEN (NEW.state IN ('done', 'failed')) EXECUTE FUNCTION chaos_note_end();
CREATE TRIGGER chaos_delivery_ends AFTER UPDATE OF state ON specimens_delivery
    FOR EACH ROW WHEN (NEW.state = 'delivered') EXECUTE FUNCTION chaos_note_end();
"""


def make_laboratory(receivers: list[ReceiverProcess]) -> dict[str, str]:
    """Create site, people, destinations and the observer; return the tokens by user name."""
    site = Site.objects.create(code="main", name="Chaos", target_cells=5)
    tokens = {}
    for role in ROLES:
        user = User.objects.create(
            username=str(role),
            role=role,
            last_name=str(role.label),
            password=make_password(PASSWORD),
        )
        user.sites.add(site)
        tokens[str(role)], _ = create_token(actor=None, user=user, lifetime=timedelta(days=1))
    for receiver in receivers:
        if receiver.kind == "webhook":
            webhook(site, receiver.url)
        else:
            mllp(site, receiver.host_and_port)
    with connection.cursor() as cursor:
        cursor.execute(_OBSERVER)
    return tokens
