import type { AnyKysely, ColumnTypes } from '../../lib/database/dialect.ts';
import type { Migration } from '../../lib/database/migration.ts';

/** The server's first tables. The one row of `service` is made when a server first opens the database. */
export const firstSchema: Migration = {
  id: '0001-first-schema',
  owner: 'server',
  class: 'stable',
  readableBy: 1,
  up: async (db, types) => {
    await createServiceTables(db, types);
    await createJobTables(db, types);
    await createAttemptTables(db, types);
    await createPilotTables(db, types);
    await createRecordTables(db, types);
  },
};

async function createServiceTables(db: AnyKysely, t: ColumnTypes): Promise<void> {
  await db.schema
    .createTable('service')
    .addColumn('id', t.integer, column => column.primaryKey())
    .addColumn('instance', t.id, column => column.notNull())
    .addColumn('incarnation', t.id, column => column.notNull())
    .addColumn('alive_ms', t.epochMs, column => column.notNull())
    .addColumn('swept_ms', t.epochMs, column => column.notNull())
    .execute();
  await db.schema
    .createTable('service_outage')
    .addColumn('outage_id', t.id, column => column.primaryKey())
    .addColumn('from_ms', t.epochMs, column => column.notNull())
    .addColumn('to_ms', t.epochMs, column => column.notNull())
    .execute();
  await db.schema
    .createTable('counter')
    .addColumn('name', t.id, column => column.primaryKey())
    .addColumn('next_value', t.bigint, column => column.notNull())
    .execute();
  await db.schema
    .createTable('queue')
    .addColumn('name', t.id, column => column.primaryKey())
    .addColumn('vo', t.id, column => column.notNull())
    .addColumn('max_pilots', t.integer, column => column.notNull())
    .addColumn('allow_containment', t.text, column => column.notNull())
    .addColumn('labels', t.text, column => column.notNull())
    .addColumn('retired', t.integer, column => column.notNull())
    .addColumn('turn', t.bigint, column => column.notNull().defaultTo(0))
    .execute();
}

async function createJobTables(db: AnyKysely, t: ColumnTypes): Promise<void> {
  await db.schema
    .createTable('job')
    .addColumn('job_id', t.id, column => column.primaryKey())
    .addColumn('instance', t.id, column => column.notNull())
    .addColumn('vo', t.id, column => column.notNull())
    .addColumn('queue', t.id, column => column.notNull())
    .addColumn('name', t.text, column => column.notNull())
    .addColumn('job_group', t.id)
    .addColumn('owner', t.textOf(1000), column => column.notNull())
    .addColumn('label', t.text, column => column.notNull())
    .addColumn('claim_rank', t.integer, column => column.notNull())
    .addColumn('cores', t.integer, column => column.notNull())
    .addColumn('memory_bytes', t.bigint, column => column.notNull())
    .addColumn('disk_bytes', t.bigint, column => column.notNull())
    .addColumn('wall_seconds', t.integer, column => column.notNull())
    .addColumn('log_bytes', t.bigint, column => column.notNull())
    .addColumn('max_attempts', t.integer, column => column.notNull())
    .addColumn('state', t.text, column => column.notNull())
    .addColumn('cause_code', t.text)
    .addColumn('cause_text', t.longText)
    .addColumn('attempts', t.integer, column => column.notNull())
    .addColumn('tries', t.integer, column => column.notNull())
    .addColumn('current_attempt_id', t.id)
    .addColumn('accepted_attempt_id', t.id)
    .addColumn('kill_requested_ms', t.epochMs)
    .addColumn('kill_reason', t.textOf(500))
    .addColumn('definition', t.longText, column => column.notNull())
    .addColumn('definition_sha256', t.id, column => column.notNull())
    .addColumn('submitted_ms', t.epochMs, column => column.notNull())
    .addColumn('changed_ms', t.epochMs, column => column.notNull())
    .execute();
  await db.schema
    .createIndex('job_by_claim')
    .on('job')
    .columns(['queue', 'state', 'claim_rank', 'job_id'])
    .execute();
  await db.schema.createIndex('job_by_vo').on('job').columns(['vo', 'job_id']).execute();
  await db.schema.createIndex('job_by_group').on('job').columns(['job_group', 'job_id']).execute();
  await db.schema
    .createTable('job_event')
    .addColumn('event_id', t.id, column => column.primaryKey())
    .addColumn('job_id', t.id, column => column.notNull())
    .addColumn('at_ms', t.epochMs, column => column.notNull())
    .addColumn('from_state', t.text)
    .addColumn('to_state', t.text, column => column.notNull())
    .addColumn('actor', t.textOf(1000), column => column.notNull())
    .addColumn('note', t.textOf(2000), column => column.notNull())
    .execute();
  await db.schema
    .createIndex('job_event_by_job')
    .on('job_event')
    .columns(['job_id', 'at_ms', 'event_id'])
    .execute();
}

async function createAttemptTables(db: AnyKysely, t: ColumnTypes): Promise<void> {
  await db.schema
    .createTable('attempt')
    .addColumn('attempt_id', t.id, column => column.primaryKey())
    .addColumn('job_id', t.id, column => column.notNull())
    .addColumn('attempt_number', t.integer, column => column.notNull())
    .addColumn('panda_id', t.bigint, column => column.notNull().unique())
    .addColumn('pilot_id', t.id, column => column.notNull())
    .addColumn('vo', t.id, column => column.notNull())
    .addColumn('queue', t.id, column => column.notNull())
    .addColumn('node', t.text, column => column.notNull())
    .addColumn('state', t.text, column => column.notNull())
    .addColumn('containment', t.text, column => column.notNull())
    .addColumn('incarnation', t.id, column => column.notNull())
    .addColumn('lease_until_ms', t.epochMs, column => column.notNull())
    .addColumn('heartbeats', t.integer, column => column.notNull())
    .addColumn('release_json', t.json)
    .addColumn('usage_json', t.json)
    .addColumn('outputs_json', t.json, column => column.notNull())
    .addColumn('cause_code', t.text)
    .addColumn('cause_text', t.longText)
    .addColumn('receipt_json', t.json)
    .addColumn('result_sha256', t.id)
    .addColumn('result_accepted', t.integer)
    .addColumn('result_job_state', t.text)
    .addColumn('tail_stdout', t.longText, column => column.notNull())
    .addColumn('tail_stderr', t.longText, column => column.notNull())
    .addColumn('started_ms', t.epochMs, column => column.notNull())
    .addColumn('ended_ms', t.epochMs)
    .addUniqueConstraint('attempt_number_once', ['job_id', 'attempt_number'])
    .execute();
  await db.schema
    .createIndex('attempt_by_lease')
    .on('attempt')
    .columns(['ended_ms', 'lease_until_ms'])
    .execute();
  await db.schema.createIndex('attempt_by_pilot').on('attempt').columns(['pilot_id', 'ended_ms']).execute();
  await db.schema.createIndex('attempt_by_queue').on('attempt').columns(['queue', 'ended_ms']).execute();
  await db.schema
    .createTable('attempt_log')
    .addColumn('attempt_id', t.id, column => column.notNull())
    .addColumn('stream', t.text, column => column.notNull())
    .addColumn('start_byte', t.bigint, column => column.notNull())
    .addColumn('data', t.longText, column => column.notNull())
    .addPrimaryKeyConstraint('attempt_log_once', ['attempt_id', 'stream', 'start_byte'])
    .execute();
  await db.schema
    .createTable('attempt_log_end')
    .addColumn('attempt_id', t.id, column => column.notNull())
    .addColumn('stream', t.text, column => column.notNull())
    .addColumn('next_byte', t.bigint, column => column.notNull())
    .addColumn('complete', t.integer, column => column.notNull())
    .addPrimaryKeyConstraint('attempt_log_end_once', ['attempt_id', 'stream'])
    .execute();
  await db.schema
    .createTable('command')
    .addColumn('command_id', t.id, column => column.primaryKey())
    .addColumn('attempt_id', t.id, column => column.notNull())
    .addColumn('job_id', t.id, column => column.notNull())
    .addColumn('verb', t.text, column => column.notNull())
    .addColumn('reason', t.textOf(500), column => column.notNull())
    .addColumn('created_ms', t.epochMs, column => column.notNull())
    .addColumn('acknowledged_ms', t.epochMs)
    .execute();
  await db.schema
    .createIndex('command_by_attempt')
    .on('command')
    .columns(['attempt_id', 'acknowledged_ms'])
    .execute();
}

async function createPilotTables(db: AnyKysely, t: ColumnTypes): Promise<void> {
  await db.schema
    .createTable('submission')
    .addColumn('submission_id', t.id, column => column.primaryKey())
    .addColumn('vo', t.id, column => column.notNull())
    .addColumn('queue', t.id, column => column.notNull())
    .addColumn('factory', t.id, column => column.notNull())
    .addColumn('secret_sha256', t.id, column => column.notNull())
    .addColumn('incarnation', t.id, column => column.notNull())
    .addColumn('state', t.text, column => column.notNull())
    .addColumn('pilot_id', t.id)
    .addColumn('created_ms', t.epochMs, column => column.notNull())
    .addColumn('valid_until_ms', t.epochMs, column => column.notNull())
    .execute();
  await db.schema
    .createIndex('submission_by_queue')
    .on('submission')
    .columns(['queue', 'state', 'valid_until_ms'])
    .execute();
  await db.schema
    .createIndex('submission_by_factory')
    .on('submission')
    .columns(['queue', 'factory', 'submission_id'])
    .execute();
  await db.schema
    .createTable('pilot')
    .addColumn('pilot_id', t.id, column => column.primaryKey())
    .addColumn('submission_id', t.id, column => column.notNull().unique())
    .addColumn('vo', t.id, column => column.notNull())
    .addColumn('queue', t.id, column => column.notNull())
    .addColumn('node', t.text, column => column.notNull())
    .addColumn('state', t.text, column => column.notNull())
    .addColumn('key_sha256', t.id, column => column.notNull())
    .addColumn('certificate_chain', t.longText, column => column.notNull())
    .addColumn('release_json', t.json)
    .addColumn('incarnation', t.id, column => column.notNull())
    .addColumn('lease_until_ms', t.epochMs, column => column.notNull())
    .addColumn('enrolled_ms', t.epochMs, column => column.notNull())
    .addColumn('ended_ms', t.epochMs)
    .addColumn('end_reason', t.textOf(500))
    .addColumn('jobs_done', t.integer, column => column.notNull())
    .addColumn('refusals_json', t.json, column => column.notNull())
    .execute();
  await db.schema
    .createIndex('pilot_by_queue')
    .on('pilot')
    .columns(['queue', 'state', 'lease_until_ms'])
    .execute();
  await db.schema.createIndex('pilot_by_end').on('pilot').columns(['queue', 'ended_ms']).execute();
  await db.schema
    .createTable('credential')
    .addColumn('key_sha256', t.id, column => column.primaryKey())
    .addColumn('kind', t.text, column => column.notNull())
    .addColumn('pilot_id', t.id, column => column.notNull())
    .addColumn('attempt_id', t.id)
    .addColumn('certificate_chain', t.longText, column => column.notNull())
    .addColumn('issued_ms', t.epochMs, column => column.notNull())
    .addColumn('expires_ms', t.epochMs, column => column.notNull())
    .execute();
}

async function createRecordTables(db: AnyKysely, t: ColumnTypes): Promise<void> {
  await db.schema
    .createTable('idempotency')
    .addColumn('key_sha256', t.id, column => column.primaryKey())
    .addColumn('request_sha256', t.id, column => column.notNull())
    .addColumn('reply', t.longText, column => column.notNull())
    .addColumn('stored_ms', t.epochMs, column => column.notNull())
    .execute();
  await db.schema.createIndex('idempotency_by_age').on('idempotency').column('stored_ms').execute();
  await db.schema
    .createTable('audit')
    .addColumn('audit_id', t.id, column => column.primaryKey())
    .addColumn('at_ms', t.epochMs, column => column.notNull())
    .addColumn('caller', t.textOf(1000), column => column.notNull())
    .addColumn('action', t.text, column => column.notNull())
    .addColumn('resource', t.textOf(500), column => column.notNull())
    .addColumn('code', t.text, column => column.notNull())
    .addColumn('rule', t.text, column => column.notNull())
    .addColumn('detail', t.longText, column => column.notNull())
    .addColumn('request_id', t.id, column => column.notNull())
    .execute();
  await db.schema.createIndex('audit_by_time').on('audit').column('at_ms').execute();
}
