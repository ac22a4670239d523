import { rm } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';
import type { Cause, JobDefinition, Usage } from '../../lib/protocol/job.ts';
import type { BoundedLog } from '../bounded-log.ts';
import { within } from '../deadline.ts';
import { overLimit } from '../disk-use.ts';
import { endPayload } from '../end-payload.ts';
import { makeCause } from '../errors.ts';
import { watchLimits } from '../limit-watch.ts';
import type { LimitWatch } from '../limit-watch.ts';
import { attemptMark, findCommand } from '../payload-command.ts';
import { startPayload } from '../payload-process.ts';
import type { PayloadEnd } from '../payload-process.ts';
import { readProcess, TICKS_PER_SECOND } from '../process-table.ts';
import { ProcessTree } from '../process-tree.ts';
import { stopReasonOf } from '../stop.ts';
import type { StopReason } from '../stop.ts';

export interface PayloadOptions {
  attemptId: string;
  definition: JobDefinition;
  environment: Record<string, string>;
  /** The payload's current directory. */
  workDirectory: string;
  /** Directories whose size counts against the disk limit. */
  directories: readonly string[];
  /** 0700, not the payload's: its pipes are made here. */
  privateDirectory: string;
  /** Holds the process group's id while the payload lives, for the wrapper to kill when the pilot is killed. */
  groupFile: string;
  path: string;
  stdout: BoundedLog;
  stderr: BoundedLog;
  sampleMs: number;
  killGraceSeconds: number;
  /** Aborted with a {@link StopReason} when the payload must end. */
  stop: AbortSignal;
  /** Aborted when there is no time left for any grace. */
  hurry: AbortSignal;
  clock: Clock;
  log: Logger;
  /** Told once the payload runs; gives the usage so far. */
  onStart?: (usage: () => Usage) => void;
}

export interface PayloadResult {
  usage: Usage;
  /** Null: it ended by itself with exit code 0. */
  cause: Cause | null;
  /** Set when it was ended on request or because the attempt is gone. */
  stopped: StopReason | undefined;
}

type Verdict =
  { by: 'itself'; end: PayloadEnd } | { by: 'limit'; cause: Cause } | { by: 'stop'; reason: StopReason };

/**
 * Runs the payload under its limits until it ends, breaks one or must stop; afterwards no process of it is left.
 *
 * @throws E_PAYLOAD_NOT_STARTED when its command cannot be started.
 */
export async function runPayload(options: PayloadOptions): Promise<PayloadResult> {
  const { definition, clock, log } = options;
  const program = await findCommand(definition.command[0]!, options.workDirectory, options.path);
  const reapedBefore = readProcess('self')?.reapedCpuTicks ?? 0;
  const started = clock.monotonic();
  const payload = await startPayload({ ...options, program, arguments: definition.command.slice(1) });
  const tree = new ProcessTree({ rootPid: payload.pid, mark: markText(options.attemptId) });
  const watch = watchLimits({ ...options, tree, limits: definition.limits });
  log.info({ groupId: payload.pid, program }, 'payload started');
  const usageSoFar = () => usageOf(watch, (clock.monotonic() - started) / 1000, watch.cpuTicks);
  options.onStart?.(usageSoFar);

  const stopped = whenStopped(options.stop);
  const verdict = await Promise.race<Verdict>([
    payload.ended.then(end => ({ by: 'itself', end })),
    watch.broken.then(cause => ({ by: 'limit', cause })),
    stopped.promise.then(reason => ({ by: 'stop', reason })),
  ]);
  stopped.release();
  const leftBehind = await endPayload(tree, {
    graceMs: graceMs(verdict, options),
    clock,
    log,
    hurry: options.hurry,
  });
  const wallSeconds = (clock.monotonic() - started) / 1000;
  const end = await within(payload.ended, 5000, clock);
  await payload.drained(leftBehind > 0 ? 100 : 2000);
  await watch.stop();
  await rm(options.groupFile, { force: true });
  const reapedTicks = (readProcess('self')?.reapedCpuTicks ?? 0) - reapedBefore;
  const usage: Usage = {
    ...usageOf(watch, wallSeconds, Math.max(reapedTicks, watch.cpuTicks)),
    exitCode: end?.exitCode ?? null,
    signal: end?.signal ?? null,
  };
  log.info({ usage, verdict: verdict.by }, 'payload ended');
  return {
    usage,
    cause: causeOfVerdict(verdict, watch, definition),
    stopped: verdict.by === 'stop' ? verdict.reason : undefined,
  };
}

const markText = (attemptId: string): string => `PILOTAGE_ATTEMPT=${attemptMark(attemptId).PILOTAGE_ATTEMPT}`;

const usageOf = (watch: LimitWatch, wallSeconds: number, cpuTicks: number): Usage => ({
  wallSeconds: Math.round(wallSeconds * 1000) / 1000,
  cpuSeconds: cpuTicks / TICKS_PER_SECOND,
  peakMemoryBytes: Math.round(watch.peakMemoryBytes),
  diskBytes: watch.diskBytes,
});

/** What still grows beyond its memory, and what its own end left behind, gets less time than a running payload. */
function graceMs(verdict: Verdict, options: PayloadOptions): number {
  const configured = options.killGraceSeconds * 1000;
  if (verdict.by === 'itself') return Math.min(configured, 1000);
  if (verdict.by === 'limit' && verdict.cause.code === 'MEMORY_EXCEEDED') return Math.min(configured, 500);
  return verdict.by === 'stop' && verdict.reason.kind === 'gone' ? Math.min(configured, 2000) : configured;
}

function causeOfVerdict(verdict: Verdict, watch: LimitWatch, definition: JobDefinition): Cause | null {
  if (verdict.by === 'limit') {
    return verdict.cause.code === 'MEMORY_EXCEEDED'
      ? makeCause('MEMORY_EXCEEDED', overLimit('peak', watch.peakMemoryBytes, definition.limits.memoryBytes))
      : verdict.cause;
  }
  if (verdict.by === 'stop') return verdict.reason.kind === 'gone' ? null : verdict.reason.cause;
  const { exitCode, signal } = verdict.end;
  if (watch.diskBytes > definition.limits.diskBytes) {
    return makeCause('DISK_EXCEEDED', overLimit('used', watch.diskBytes, definition.limits.diskBytes));
  }
  if (signal !== null) {
    const memory = overLimit('peak memory', watch.peakMemoryBytes, definition.limits.memoryBytes);
    return makeCause('PAYLOAD_SIGNAL', `ended by ${signal}, which Pilotage did not send; ${memory}`);
  }
  return exitCode === 0 ? null : makeCause('PAYLOAD_EXIT', `exit code ${exitCode}`);
}

function whenStopped(signal: AbortSignal): { promise: Promise<StopReason>; release: () => void } {
  let listener: () => void = () => undefined;
  const promise = new Promise<StopReason>(resolve => {
    listener = () => resolve(stopReasonOf(signal)!);
    if (signal.aborted) listener();
    else signal.addEventListener('abort', listener, { once: true });
  });
  return { promise, release: () => signal.removeEventListener('abort', listener) };
}
