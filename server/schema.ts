import type { Generated, Kysely, Transaction } from 'kysely';

/** Rows of the server's tables. Ids are text, times epoch milliseconds of the database's clock, structures JSON text. */
export interface ServerTables {
  service: {
    id: number;
    instance: string;
    incarnation: string;
    alive_ms: number;
    swept_ms: number;
  };
  service_outage: { outage_id: string; from_ms: number; to_ms: number };
  counter: { name: string; next_value: number };
  release_state: { id: number; turn: Generated<number>; state_json: string };
  queue: {
    name: string;
    vo: string;
    max_pilots: number;
    allow_containment: string;
    labels: string;
    retired: number;
    turn: Generated<number>;
  };
  job: {
    job_id: string;
    instance: string;
    vo: string;
    queue: string;
    name: string;
    job_group: string | null;
    owner: string;
    label: string;
    /** 1,000,000 minus the priority, so that one ascending index serves the claim. */
    claim_rank: number;
    cores: number;
    memory_bytes: number;
    disk_bytes: number;
    wall_seconds: number;
    log_bytes: number;
    max_attempts: number;
    state: string;
    cause_code: string | null;
    cause_text: string | null;
    attempts: number;
    tries: number;
    current_attempt_id: string | null;
    accepted_attempt_id: string | null;
    kill_requested_ms: number | null;
    kill_reason: string | null;
    definition: string;
    definition_sha256: string;
    submitted_ms: number;
    changed_ms: number;
  };
  job_event: {
    event_id: string;
    job_id: string;
    at_ms: number;
    from_state: string | null;
    to_state: string;
    actor: string;
    note: string;
  };
  attempt: {
    attempt_id: string;
    job_id: string;
    attempt_number: number;
    panda_id: number;
    pilot_id: string;
    vo: string;
    queue: string;
    node: string;
    state: string;
    containment: string;
    incarnation: string;
    lease_until_ms: number;
    heartbeats: number;
    release_json: string | null;
    /** Null: dispatched by a server before schema level 3. */
    server_version: string | null;
    usage_json: string | null;
    outputs_json: string;
    cause_code: string | null;
    cause_text: string | null;
    receipt_json: string | null;
    result_sha256: string | null;
    result_accepted: number | null;
    result_job_state: string | null;
    tail_stdout: string;
    tail_stderr: string;
    started_ms: number;
    ended_ms: number | null;
  };
  attempt_log: { attempt_id: string; stream: string; start_byte: number; data: string };
  attempt_log_end: { attempt_id: string; stream: string; next_byte: number; complete: number };
  command: {
    command_id: string;
    attempt_id: string;
    job_id: string;
    verb: string;
    reason: string;
    created_ms: number;
    acknowledged_ms: number | null;
  };
  submission: {
    submission_id: string;
    vo: string;
    queue: string;
    factory: string;
    secret_sha256: string;
    incarnation: string;
    state: string;
    pilot_id: string | null;
    created_ms: number;
    valid_until_ms: number;
  };
  pilot: {
    pilot_id: string;
    submission_id: string;
    vo: string;
    queue: string;
    node: string;
    state: string;
    key_sha256: string;
    certificate_chain: string;
    release_json: string | null;
    incarnation: string;
    lease_until_ms: number;
    enrolled_ms: number;
    ended_ms: number | null;
    end_reason: string | null;
    jobs_done: number;
    refusals_json: string;
  };
  credential: {
    key_sha256: string;
    kind: string;
    pilot_id: string;
    attempt_id: string | null;
    certificate_chain: string;
    issued_ms: number;
    expires_ms: number;
  };
  idempotency: { key_sha256: string; request_sha256: string; reply: string; stored_ms: number };
  audit: {
    audit_id: string;
    at_ms: number;
    caller: string;
    action: string;
    resource: string;
    code: string;
    rule: string;
    detail: string;
    request_id: string;
  };
}

/** What a query runs on: the database, or the transaction it is part of. */
export type Executor = Kysely<ServerTables> | Transaction<ServerTables>;

export type JobRow = ServerTables['job'];
export type AttemptRow = ServerTables['attempt'];
export type PilotRow = ServerTables['pilot'];
export type SubmissionRow = ServerTables['submission'];
export type CredentialRow = ServerTables['credential'];
export type QueueRow = Omit<ServerTables['queue'], 'turn'>;
