"""Static files under names that carry their digest, the imports between ES modules included."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStorage(CompressedManifestStaticFilesStorage):
    """Rewrites `import ... from "./x.js"` as well, so that no browser mixes two releases."""

    support_js_module_import_aggregation = True
