"""`manage.py draw_cells OUTPUT_DIR`: write synthetic cell images, for demonstrations and tests."""

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from classifier.classes import PREDICTED_CLASSES
from classifier.synthetic import draw_cells, save_jpeg

KINDS = {cell.key: cell.name for cell in PREDICTED_CLASSES}


class Command(BaseCommand):
    help = "Draw synthetic white blood cells; each file carries a comment that says so."
    # Neither the database nor the web server is needed.
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("output_dir", metavar="OUTPUT_DIR", type=Path)
        parser.add_argument("--count", type=int, default=20, help="cells of each kind")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument(
            "--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND"
        )

    def handle(
        self, *, output_dir: Path, count: int, seed: int, kinds: list[str], **options: Any
    ) -> None:
        try:
            cells = draw_cells(seed, {KINDS[kind]: count for kind in kinds})
        except ValueError as error:
            raise CommandError(str(error)) from error
        output_dir.mkdir(parents=True, exist_ok=True)
        written = dict.fromkeys(KINDS, 0)
        for name, image in cells:
            kind = name.lower()
            written[kind] += 1
            save_jpeg(image, output_dir / f"{kind}_{written[kind]:03d}.jpg")
        self.stdout.write(f"{sum(written.values())} synthetic cells in {output_dir}")
