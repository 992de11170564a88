"""The codes results go out under: what is in force at each site, and what differs."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from specimens.interop.codes import default_codes
from specimens.models import Site, User
from specimens.permissions import Action, require, visible_to
from specimens.selectors.codes import code_problems_at, code_rows, code_table
from specimens.views.access import for_people


@require_GET
@for_people
def code_tables(request: HttpRequest, user: User) -> HttpResponse:
    """A table for each site of the administrator."""
    require(user, Action.ADMINISTER)
    tables = [
        (site, code_rows(code_table(site)), code_problems_at(site))
        for site in visible_to(user, Site)
    ]
    defaults = default_codes()
    context = {"tables": tables, "version": defaults.version, "remark": defaults.remark}
    return render(request, "codes/page.html", context)
