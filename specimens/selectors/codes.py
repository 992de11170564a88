"""The code table of a site: the defaults, and its own rows over them."""

from specimens.interop.codes import Code, CodeTable, Entry, default_codes
from specimens.models import CodeMapping, Site


def code_table(site: Site) -> CodeTable:
    """Return the codes in force at `site`."""
    rows = CodeMapping.objects.filter(site=site)
    return default_codes().overlaid(
        {
            (row.quantity, row.cell_class): Entry(
                Code(row.system, row.code, row.display), row.unit_in_force, site.code
            )
            for row in rows
        },
        site.code,
    )
