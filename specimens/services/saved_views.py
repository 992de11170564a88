"""A person's own filters of the worklist, kept under a name."""

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import QueryDict

from specimens.models import SavedView, User
from specimens.permissions import Action, require

# What the worklist can be narrowed by; anything else in an address is not kept.
FILTERS = ("state", "priority", "site", "mine", "failed", "q")
LIMIT = 20


@transaction.atomic
def save_view(*, actor: User, name: str, query: str) -> SavedView:
    """Keep the filters of `query` under `name`; the same name again replaces them.

    Raises ValidationError for an empty name, a query that filters nothing, one view too many.
    """
    require(actor, Action.VIEW)
    given = QueryDict(query)
    kept = QueryDict(mutable=True)
    for field in FILTERS:
        if given.get(field):
            kept[field] = given[field]
    if not kept:
        raise ValidationError({"name": "Choose a filter first: a view without one is the list."})
    view = SavedView.objects.filter(user=actor, name=name.strip()).first()
    if view is None and SavedView.objects.filter(user=actor).count() >= LIMIT:
        raise ValidationError({"name": f"You have {LIMIT} views. Delete one first."})
    view = view or SavedView(user=actor, name=name.strip())
    view.query = kept.urlencode()
    view.full_clean(exclude=["user"])
    view.save()
    return view


def delete_view(*, actor: User, pk: int) -> SavedView:
    """Remove one of the actor's own views; raises SavedView.DoesNotExist for any other."""
    view = SavedView.objects.get(user=actor, pk=pk)
    SavedView.objects.filter(pk=view.pk).delete()
    return view
