"""The rows of a laboratory that has kept everything for years, as INSERT ... SELECT."""

from typing import Final

# Specimens are numbered by receipt over five years; the newest 420 are open, of the others one in
# 2,000 was forgotten in review and one in a hundred rejected.
SPECIMEN_ROWS: Final = """
INSERT INTO specimens_patient
    (id, site_id, identifier, issuer, family_name, given_name, sex, birth_date, created_at)
SELECT i, 1 + i % %(sites)s, 'P' || lpad(i::text, 7, '0'), '',
    (ARRAY['Musterfrau', 'Beispiel', 'Probst', 'Specimen', 'Tester'])[1 + i % 5] || i % 4000,
    (ARRAY['Erika', 'Max', 'Kim', 'Toni'])[1 + i % 4], (ARRAY['F', 'M'])[1 + i % 2],
    DATE '1930-01-01' + (i * 7919 % 33000)::int, now()
FROM generate_series(1, %(specimens)s) AS i;

INSERT INTO specimens_order
    (id, site_id, patient_id, placer_number, filler_number, reference, priority, requester,
     clinical_information, ordered_at, created_at)
SELECT i, 1 + i % %(sites)s, i, 'ORD' || i, '', '{}',
    CASE WHEN i % 12 = 0 THEN 'stat' ELSE 'routine' END,
    'Ward ' || i % 40, '', now(), now()
FROM generate_series(1, %(specimens)s) AS i;

INSERT INTO specimens_specimen
    (id, site_id, order_id, accession_number, state, received_at, wbc_count, assigned_to_id,
     review_flags, amendment_reason, rejection_reason, is_synthetic, accessioned_by_id, created_at)
SELECT i, 1 + i % %(sites)s, i, to_char(received_at, 'YYMMDD') || '-' || lpad(i::text, 6, '0'),
    state, received_at, 6.5, CASE WHEN state = 'in_review' THEN 1 END,
    CASE WHEN i % 9 = 0 AND state IN ('preclassified', 'in_review')
        THEN '[{"code": "too_few_cells", "text": "Fewer white cells than asked for"}]'::jsonb
        ELSE '[]' END,
    '', CASE WHEN state = 'rejected' THEN 'Clotted' ELSE '' END, true, 1, received_at
FROM (
    SELECT i, now() - interval '5 years' * ((%(specimens)s - i)::float / %(specimens)s)
        AS received_at,
        CASE
            WHEN %(specimens)s - i < 40 THEN 'accessioned'
            WHEN %(specimens)s - i < 100 THEN 'imaged'
            WHEN %(specimens)s - i < 340 THEN 'preclassified'
            WHEN %(specimens)s - i < 420 THEN 'in_review'
            WHEN i % 2000 = 7 THEN 'preclassified'
            WHEN i % 100 = 3 THEN 'rejected'
            WHEN i % 150 = 5 THEN 'amended'
            ELSE 'signed_out'
        END AS state
    FROM generate_series(1, %(specimens)s) AS i
) AS one;

INSERT INTO specimens_auditevent
    (sequence, at, actor_name, action, site_id, specimen_id, object_type, object_id, details,
     previous_hash, hash)
SELECT 5 * i + step, now(), 'system',
    (ARRAY['specimen.accessioned', 'specimen.viewed', 'specimen.classified', 'specimen.viewed',
        'specimen.signed_out'])[1 + step],
    1 + i % %(sites)s, i, 'specimen', i::text, '{}', repeat('0', 64), repeat('0', 64)
FROM generate_series(1, %(specimens)s) AS i, generate_series(0, 4) AS step;
"""

# A cell's number decides all of it. Of the waiting 30 specimens have one failed image, of the
# rejected each; one image in 2,000 failed once and was queued again.
CELL_ROWS: Final = """
CREATE TEMPORARY TABLE cell ON COMMIT DROP AS
SELECT (i - 1) * %(cells)s::bigint + j AS id, i, j, s.site_id, s.state, s.received_at,
    (ARRAY['Neutrophil', 'Lymphocyte', 'Monocyte', 'Eosinophil', 'Basophil', 'Unidentified'])
        [CASE WHEN r < 60 THEN 1 WHEN r < 89 THEN 2 WHEN r < 95 THEN 3 WHEN r < 98 THEN 4
            WHEN r < 99 THEN 5 ELSE 6 END] AS decision,
    CASE WHEN s.state = 'imaged' AND j > %(cells)s / 2 THEN 'queued'
        WHEN j = 1 AND (s.state = 'rejected'
            OR (s.state = 'preclassified' AND i %% 8 = 0)) THEN 'failed'
        ELSE 'done' END AS outcome
FROM specimens_specimen AS s, generate_series(1, %(cells)s) AS j,
    LATERAL (SELECT s.id AS i, (s.id * 31 + j * 17) %% 100 AS r) AS drawn
WHERE s.id > %(after)s AND s.id <= %(upto)s AND s.state <> 'accessioned'
ORDER BY s.id, j;

INSERT INTO specimens_cellimage
    (id, site_id, specimen_id, file, sha256, filename, media_type, size, width, height, source,
     is_synthetic, received_from_id, created_at, label, labelled_by_id, revision)
SELECT id, site_id, i, 'cells/2026/01/01/' || md5(id::text) || '.jpg',
    md5(id::text) || md5((-id)::text), 'cell-' || j || '.jpg', 'image/jpeg', 12000, 360, 363,
    'api', true, 1, received_at, CASE WHEN labelled THEN lower(decision) ELSE '' END,
    CASE WHEN labelled THEN 1 END, CASE WHEN labelled THEN 1 ELSE 0 END
FROM (
    SELECT *, state IN ('signed_out', 'amended') OR (state = 'in_review' AND j %% 2 = 0) AS labelled
    FROM cell
) AS one;

INSERT INTO specimens_prediction
    (cell_image_id, model_version_id, predicted_class, decision, reasons, confidence, probabilities,
     ood_score, embedding, explanation, shown, engine, milliseconds, created_at)
SELECT id, 1, CASE WHEN decision = 'Unidentified' THEN 'Monocyte' ELSE decision END, decision, '[]',
    0.5 + (id * 7 %% 500) / 1000.0, '[0.01, 0.01, 0.02, 0.01, 0.95]', 0.1,
    decode(repeat(md5(id::text), 32), 'hex'), decode(repeat(md5(id::text), 16), 'hex'),
    '[0.21, 0.19, 0.6]', 'onnx', 9.5, received_at
FROM cell WHERE outcome = 'done';

INSERT INTO specimens_job
    (cell_image_id, site_id, specimen_id, state, priority, attempts, worker, error_code, error,
     created_at, due_at, finished_at)
SELECT id, site_id, i, 'failed', 5, 5, 'worker-1', 'decode', 'Not an image', received_at,
    received_at, received_at
FROM cell WHERE outcome = 'failed' OR (outcome = 'done' AND id %% 2000 = 0);

INSERT INTO specimens_job
    (cell_image_id, site_id, specimen_id, state, priority, turn, attempts, worker, error_code,
     error, created_at, due_at, finished_at)
SELECT id, site_id, i, outcome, 5, id, CASE WHEN outcome = 'done' THEN 1 ELSE 0 END, '', '', '',
    received_at, received_at, CASE WHEN outcome = 'done' THEN received_at END
FROM cell WHERE outcome <> 'failed';
"""
