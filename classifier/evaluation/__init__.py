"""The evaluation a laboratory runs: what a served model makes of labelled images. No Keras here."""
