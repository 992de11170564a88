"""From an uploaded file to pixels: header checks anywhere, decoding only in decoder processes."""
