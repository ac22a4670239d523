/** One pilot as an engine knows it. */
export interface PilotRef {
  batchId: string;
  submissionId: string;
}

/** A batch whose sandboxes (`<spool>/<batchId>/<submissionId>/` with wrapper.sh and bootstrap.json) are written. */
export interface EngineBatch {
  batchId: string;
  submissionIds: readonly string[];
}

/** Batch system's id of each submission. */
export type NativeIds = Readonly<Record<string, string>>;

/**
 * Three outcomes, because a batch system can fail to answer: `unknown` means that the batch may or may not be there, and
 * only {@link Engine.findByBatch} can tell.
 */
export type SubmitOutcome =
  | { outcome: 'submitted'; nativeIds: NativeIds }
  | { outcome: 'rejected'; reason: string }
  | { outcome: 'unknown'; reason: string };

/** `absent` is a proof: nothing of this batch was started, and nothing of it ever will be. */
export type BatchLookup =
  | { found: 'present'; nativeIds: NativeIds }
  | { found: 'absent'; proof: string }
  | { found: 'unknown'; reason: string };

export interface EngineJob extends PilotRef {
  nativeId: string;
  state: 'queued' | 'running' | 'ended';
  /** Of an ended pilot; null when it left none (killed, machine restarted). */
  exitCode: number | null;
  /** True when this engine was asked to cancel it. */
  cancelled: boolean;
  startedMs: number | null;
  endedMs: number | null;
  /** What the engine can say about how it ended. */
  note: string;
}

export interface EngineSnapshot {
  /** False when any job may be missing from `jobs`; nobody concludes anything from what is absent then. */
  complete: boolean;
  jobs: EngineJob[];
  problems: string[];
}

export interface EngineCapabilities {
  /** A batch is taken whole or not at all. */
  atomicBatch: boolean;
  /** {@link Engine.findByBatch} can prove absence. */
  provesAbsence: boolean;
}

/**
 * A batch system. Every call has the caller's deadline in its signal; none throws for what a batch system may answer,
 * all throw E_ENGINE_FAILED for what it may not.
 */
export interface Engine {
  readonly name: string;
  readonly capabilities: EngineCapabilities;
  /** Submits a whole batch in one call. The same batch again is the same submission, never a second one. */
  submit(batch: EngineBatch, signal: AbortSignal): Promise<SubmitOutcome>;
  /** Everything of this autopilot that the batch system has. */
  snapshot(signal: AbortSignal): Promise<EngineSnapshot>;
  /** Settles the fate of a batch whose submission got no answer; `absent` also refuses it for ever. */
  findByBatch(batchId: string, signal: AbortSignal): Promise<BatchLookup>;
  /**
   * Asks pilots to end (`term`) or ends them (`kill`: what the wrapper runs; a second time: everything). One that has not
   * started never will.
   */
  cancel(pilots: readonly PilotRef[], how: 'term' | 'kill'): Promise<void>;
  /** Output of a pilot so far, at most `maxBytes`: its beginning and its end when there is more. */
  fetchLog(pilot: PilotRef, stream: 'stdout' | 'stderr', maxBytes: number): Promise<Buffer>;
  /** Lets the engine forget an ended pilot, and frees what it holds. */
  forget(pilot: PilotRef): Promise<void>;
  /** Starts nothing more and lets go of what runs; looking, cancelling and reading logs still work. */
  close(): Promise<void>;
}
