"""Saving the filters of the worklist under a name, and removing them again."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from specimens.models import SavedView, User
from specimens.services.saved_views import delete_view, save_view
from specimens.views.access import for_people


@require_POST
@for_people
def save(request: HttpRequest, user: User) -> HttpResponse:
    query = request.POST.get("query", "")[:500]
    try:
        view = save_view(actor=user, name=request.POST.get("name", ""), query=query)
    except ValidationError as refusal:
        messages.error(request, f"The view was not saved. {' '.join(refusal.messages)}")
        return redirect(f"{reverse('worklist')}?{query}" if query else "worklist")
    messages.success(request, f"Saved as “{view.name}”.")
    return redirect(f"{reverse('worklist')}?{view.query}")


@require_POST
@for_people
def delete(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    try:
        view = delete_view(actor=user, pk=pk)
    except SavedView.DoesNotExist as missing:
        raise Http404 from missing
    messages.success(request, f"The view “{view.name}” is deleted.")
    return redirect("worklist")
