import type { DatabaseSync } from 'node:sqlite';
import { autopilotError } from '../errors.ts';
import { batchStates, pilotStates } from './pilot-states.ts';

export const LEDGER_VERSION = 1;

const oneOf = (column: string, words: readonly string[]): string =>
  `${column} text not null check (${column} in (${words.map(word => `'${word}'`).join(',')}))`;

const schema = `
create table meta (key text primary key, value text not null) strict;
create table batch (
  batch_id text primary key,
  requested integer not null,
  valid_seconds integer not null,
  idempotency_key text not null,
  ${oneOf('state', batchStates)},
  note text not null default '',
  created_ms integer not null,
  changed_ms integer not null
) strict;
create index batch_state on batch (state);
create table pilot (
  submission_id text primary key,
  batch_id text not null references batch (batch_id),
  ${oneOf('state', pilotStates)},
  native_id text,
  server_state text,
  jobs_done integer,
  exit_code integer,
  result_code text,
  result_message text,
  missing_looks integer not null default 0,
  withdraw text not null default 'no' check (withdraw in ('no', 'due', 'done')),
  log_kept integer not null default 0,
  created_ms integer not null,
  submitting_ms integer,
  queued_ms integer,
  running_ms integer,
  ended_ms integer
) strict;
create index pilot_state on pilot (state);
create index pilot_batch on pilot (batch_id);
create index pilot_withdraw on pilot (withdraw) where withdraw = 'due';
create index pilot_ended on pilot (ended_ms) where ended_ms is not null;
create table pilot_event (
  seq integer primary key autoincrement,
  submission_id text not null,
  at_ms integer not null,
  from_state text,
  to_state text not null,
  note text not null
) strict;
create index pilot_event_of on pilot_event (submission_id);
create trigger pilot_event_is_append_only before update on pilot_event
begin select raise(abort, 'pilot_event is append-only'); end;
create table cycle (
  seq integer primary key autoincrement,
  at_ms integer not null,
  submitted integer not null,
  reasons text not null,
  problems text not null
) strict;
`;

/** Makes the tables of a new ledger. @throws E_LEDGER_SCHEMA when the file was made by another version. */
export function prepareSchema(db: DatabaseSync, path: string): void {
  const found = Number(db.prepare('pragma user_version').get()?.user_version ?? 0);
  if (found === LEDGER_VERSION) return;
  if (found !== 0) {
    throw autopilotError({
      code: 'E_LEDGER_SCHEMA',
      message: 'This ledger was made by another version of Pilotage.',
      where: path,
      expected: `ledger version ${LEDGER_VERSION}`,
      found: `ledger version ${found}`,
      fix: 'Run the version that made it until its pilots have ended, or name another --state directory.',
    });
  }
  db.exec(`begin immediate;${schema};pragma user_version = ${LEDGER_VERSION};commit;`);
}
