"""QIDO-RS (PS3.18 section 10.6): studies, series and instances that are kept here."""

from django.http import HttpResponse
from rest_framework import status
from rest_framework.request import Request

from specimens.api.dicomweb.base import account, json_answer, require_json, wado_root
from specimens.api.errors import ApiError
from specimens.dicom.dicomweb import BadQuery, Level, parse_query
from specimens.selectors.dicomweb import search
from specimens.services.dicom_network_reads import record_search


def search_answer(
    request: Request, level: Level, study: str = "", series: str = ""
) -> HttpResponse:
    """Answer a search: 200 with results, perhaps none; what was not done is in Warning headers."""
    require_json(request)
    user = account(request)
    pairs = [
        (name, value)
        for name, values in request.query_params.lists()
        for value in values
        if name != "accept"
    ]
    try:
        query = parse_query(pairs, level)
        results, more, rows = search(user, query, study, series, wado_root(request))
    except BadQuery as error:
        raise ApiError(status.HTTP_400_BAD_REQUEST, "bad_query", str(error)) from error
    if more:
        query.warnings.append("There are more results; ask for them with limit and offset.")
    record_search(actor=user, rows=rows, level=level)
    response = json_answer(results)
    if query.warnings:
        response.headers["Warning"] = ", ".join(f'299 wbclab "{one}"' for one in query.warnings)
    return response
