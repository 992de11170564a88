"""Training, calibration, evaluation and export of DM-FNet. Never imported by a serving process."""
