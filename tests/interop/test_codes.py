"""Code tables: check digits, defaults, a site's own rows, the page and the command."""

import re
import tomllib
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classifier.classes import ALL_CLASSES
from specimens.interop.codes import DEFAULTS, Code, Entry, default_codes, read_codes
from specimens.models import AuditEvent, CodeMapping, User
from specimens.selectors.codes import code_rows, code_table
from specimens.terminology import (
    LOCAL,
    LOINC,
    SNOMED_CT,
    UNITS,
    Quantity,
    code_problems,
    is_loinc,
    is_snomed_ct,
)
from tests.factories import Cast

pytestmark = pytest.mark.core

# Percentage and count as in the laboratory's own list (LOINC), written out a second time here.
LISTED = {
    "neutrophil": ("26511-6", "26499-4"),
    "band_neutrophil": ("26508-2", "26507-4"),
    "lymphocyte": ("26478-8", "26474-7"),
    "atypical_lymphocyte": ("13046-8", "26477-0"),
    "monocyte": ("26485-3", "26484-6"),
    "eosinophil": ("26450-7", "26449-9"),
    "basophil": ("30180-4", "26444-0"),
    "blast": ("26446-5", "30376-8"),
    "plasma_cell": ("13047-6", "30458-4"),
}


def test_the_defaults_are_the_listed_codes_and_well_formed() -> None:
    table = default_codes()
    assert table.problems() == []
    for key, (percent, absolute) in LISTED.items():
        assert table.percent(key) == Code(LOINC, percent, table.percent(key).display)
        assert (table.absolute(key).system, table.absolute(key).code) == (LOINC, absolute)
        assert (table.unit("percent", key), table.unit("absolute", key)) == ("%", "10*9/L")
    assert table.per_100_wbc("smudge_cell").code == "34992-8"
    assert table.unit("per_100_wbc", "smudge_cell") == "/100{WBCs}"
    assert (table.panel.code, table.wbc_count.code) == ("69738-3", "26464-8")
    assert table.cell("eosinophil") == Code(SNOMED_CT, "14793004", "Eosinophil")
    assert "licensed" in table.remark
    assert re.fullmatch(r"\d{4}-\d\d", table.version)


def test_what_has_no_code_goes_out_under_our_own() -> None:
    table = default_codes()
    blast = table.cell("blast")
    assert (blast.system, blast.code, blast.scheme) == (LOCAL, "blast-cell", "99WBCLAB")
    for row in code_rows(table):
        assert not code_problems(
            quantity=row.quantity,
            cell_class=row.cell_class,
            system=row.entry.code.system,
            code=row.entry.code.code,
            unit=row.entry.unit,
        )
    codes = [(row.entry.code.system, row.entry.code.code) for row in code_rows(table)]
    assert len(codes) == len(set(codes))
    with pytest.raises(KeyError):
        table.percent("no such class")


def test_an_unverified_result_never_goes_out_as_verified() -> None:
    table = default_codes()
    assert table.method.code != table.method_unverified.code
    assert "not verified" in table.method_unverified.display


@pytest.mark.parametrize("code", ["26511-6", "69738-3", "1-8", "58413-6"])
def test_loinc_check_digits(code: str) -> None:
    assert is_loinc(code)
    body, _, digit = code.partition("-")
    for other in set("0123456789") - {digit}:
        assert not is_loinc(f"{body}-{other}")


@pytest.mark.parametrize("code", ["", "265116", "26511-", "-6", "26511-6 ", "٢6511-6", "02651-1"])
def test_what_is_no_loinc_code(code: str) -> None:
    assert not is_loinc(code)


@pytest.mark.parametrize("code", ["14793004", "30061004", "56972008", "52501007", "73211009"])
def test_snomed_ct_check_digits_find_every_single_error(code: str) -> None:
    assert is_snomed_ct(code)
    for place in range(len(code)):
        for digit in set("0123456789") - {code[place]}:
            assert not is_snomed_ct(code[:place] + digit + code[place + 1 :])


@pytest.mark.parametrize(
    "code", ["", "1479300", "14793004x", "0147930040", "900000000000003001" * 2]
)
def test_what_is_no_snomed_ct_concept(code: str) -> None:
    assert not is_snomed_ct(code)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=20))
def test_no_text_breaks_the_checks(text: str) -> None:
    for check in (is_loinc, is_snomed_ct):
        assert check(text) in (True, False)
    code_problems(quantity=text, cell_class=text, system=text, code=text, unit=text)


@pytest.mark.parametrize("code", ["a b", "a|b", "a^b", "a\\b", "", "x" * 65])
def test_a_code_of_ones_own_fits_every_message(code: str) -> None:
    found = code_problems(quantity="panel", cell_class="", system="urn:own", code=code)
    assert "characters" in found["code"]


def test_a_data_file_with_an_unknown_system_is_refused() -> None:
    document = tomllib.loads(DEFAULTS.read_text())
    document["percent"]["codes"]["blast"][0] = "icd"
    with pytest.raises(ValueError, match="icd"):
        read_codes(document)


def test_one_code_for_two_things_is_named() -> None:
    table = default_codes().overlaid(
        {("percent", "blast"): Entry(default_codes().percent("monocyte"), "%", "x")}
    )
    assert table.problems() == [
        "26485-3 stands for percent monocyte and for percent blast: give each its own."
    ]


VALID = {
    "quantity": "percent", "cell_class": "blast", "system": LOINC, "code": "26446-5",
    "display": "Blasts", "unit": "%",
}  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("code", "26446-4", "check digit"),
        ("code", "a|b", "form"),
        ("cell_class", "thrombocyte", "thrombocyte"),
        ("cell_class", "unidentified", "unidentified"),
        ("cell_class", "", "Known"),
        ("unit", "/uL", "UCUM"),
        ("system", "LOINC", "URI"),
        ("quantity", "mass", "mass"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused(
    field: str, value: str, says: str, cast: Cast
) -> None:
    row = CodeMapping(site=cast.site, **(VALID | {field: value}))
    with pytest.raises(ValidationError) as refusal:
        row.full_clean()
    assert any(says in text for text in refusal.value.message_dict[field])


@pytest.mark.django_db
def test_a_sites_own_rows_lie_over_the_defaults_of_that_site_only(cast: Cast) -> None:
    own = CodeMapping(site=cast.site, **(VALID | {"system": "urn:oid:1.2.3", "code": "BL"}))
    own.full_clean()
    own.save()
    unit = CodeMapping(site=cast.site, quantity="wbc_count", system=LOINC, code="26464-8",
                       display="WBC", unit="10*3/uL")  # fmt: skip
    unit.full_clean()
    unit.save()
    here, there = code_table(cast.site), code_table(cast.other_site)
    assert here.percent("blast") == Code("urn:oid:1.2.3", "BL", "Blasts")
    assert (here.unit("percent", "blast"), here.unit("wbc_count")) == ("%", "10*3/uL")
    assert there.percent("blast").code == "26446-5"
    assert (here.site, there.site) == ("main", "other")
    assert [row.cell_class for row in code_rows(here) if row.is_own] == ["blast", ""]


def test_units_never_change_the_number() -> None:
    assert {unit for units in UNITS.values() for unit in units} == {
        "%", "10*9/L", "10*3/uL", "/100{WBCs}", "{cells}", "{#}", "1",
    }  # fmt: skip


def test_every_reported_class_has_rows() -> None:
    keys = {c.key for c in ALL_CLASSES} - {"unidentified", "artefact"}
    quantities = {Quantity.PERCENT, Quantity.PER_100_WBC}
    found = {row.cell_class for row in code_rows(default_codes()) if row.quantity in quantities}
    assert found == keys


@pytest.mark.django_db
def test_the_page_shows_what_differs_and_the_remark(
    cast: Cast, as_person: Callable[[User], Client]
) -> None:
    CodeMapping.objects.create(site=cast.site, **(VALID | {"code": "26446-4"}))
    CodeMapping.objects.create(
        site=cast.other_site, **(VALID | {"system": "urn:x", "code": "ELSEWHERE"})
    )
    text = as_person(cast.administrator).get(reverse("codes")).content.decode()
    assert "licensed" in text
    assert "26446-4 is no LOINC code" in text
    assert "instead of <code>26446-5</code>" in text
    assert "ELSEWHERE" not in text
    assert as_person(cast.pathologist).get(reverse("codes")).status_code == 403


@pytest.mark.django_db
def test_administrators_enter_rows_of_their_own_sites_and_it_is_recorded(
    cast: Cast, as_person: Callable[[User], Client]
) -> None:
    client = as_person(cast.administrator)
    add = reverse("admin:specimens_codemapping_add")
    wrong = client.post(add, VALID | {"site": cast.site.pk, "code": "26446-4"})
    assert "check digit" in wrong.content.decode()
    foreign = client.post(add, VALID | {"site": cast.other_site.pk})
    assert foreign.status_code == 200
    assert not CodeMapping.objects.exists()
    assert client.post(add, VALID | {"site": cast.site.pk}).status_code == 302
    assert AuditEvent.objects.get(action="codemapping.added").site == cast.site


@pytest.mark.django_db
def test_the_command_names_problems_and_fails(cast: Cast) -> None:
    out, err = StringIO(), StringIO()
    call_command("check_codes", "--show", stdout=out, stderr=err)
    assert "no problem" in out.getvalue()
    assert "main\tpercent\tneutrophil\thttp://loinc.org\t26511-6\t%" in out.getvalue()
    CodeMapping.objects.create(site=cast.site, **(VALID | {"code": "26446-4"}))
    with pytest.raises(CommandError, match="1 problem"):
        call_command("check_codes", stdout=out, stderr=err)
    assert "main: percent blast: 26446-4 is no LOINC code" in err.getvalue()
    call_command("check_codes", "--site", "other", stdout=out, stderr=err)
    with pytest.raises(CommandError, match="no-such"):
        call_command("check_codes", "--site", "no-such")


@pytest.fixture
def as_person() -> Callable[[User], Client]:
    def log_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return log_in


def test_the_stored_choices_are_those_of_the_code() -> None:
    field: Any = CodeMapping._meta.get_field("quantity")
    assert [value for value, _ in field.choices] == [q.value for q in Quantity]
